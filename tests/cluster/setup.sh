#!/usr/bin/env bash
# Sets up what `make cluster` needs, on Debian or Ubuntu, as root: a Slurm of one node and an sshd with two addresses,
# both on loopback and for the user who runs the tests. Their files are in $LLMTUI_CLUSTER (default /tmp/llmtui-cluster).
# `tests/cluster/setup.sh stop` ends the processes that it started.
set -euo pipefail

HOME_OF_CLUSTER=${LLMTUI_CLUSTER:-/tmp/llmtui-cluster}
PORT=${LLMTUI_SSH_PORT:-22022}
NODE=$(hostname -s)

stop() {
    for name in slurmd slurmctld munged sshd; do
        if [ -f "$HOME_OF_CLUSTER/$name.pid" ]; then
            kill "$(cat "$HOME_OF_CLUSTER/$name.pid")" 2>/dev/null || true
            rm -f "$HOME_OF_CLUSTER/$name.pid"
        fi
    done
}

if [ "${1:-}" = stop ]; then
    stop
    exit
fi

needed=()
for pair in slurmctld:slurmctld slurmd:slurmd srun:slurm-client munged:munge sshd:openssh-server; do
    PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null || needed+=("${pair##*:}")
done
if [ ${#needed[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${needed[@]}"
fi

export PATH=$PATH:/usr/sbin
stop
mkdir -p "$HOME_OF_CLUSTER"/{slurmctld,slurmd,munge}
chmod 755 "$HOME_OF_CLUSTER"
chmod 700 "$HOME_OF_CLUSTER/munge"
cd "$HOME_OF_CLUSTER"

# -- sshd: hosts one (127.0.0.2) and two (127.0.0.3) ---------------------------------------------------------------
for key in host client stranger; do
    [ -f "$key" ] || ssh-keygen -q -t ed25519 -N "" -f "$key"
done
cp client.pub authorized_keys
mkdir -p /run/sshd
cat >sshd_config <<END
Port $PORT
ListenAddress 127.0.0.2
ListenAddress 127.0.0.3
HostKey $HOME_OF_CLUSTER/host
AuthorizedKeysFile $HOME_OF_CLUSTER/authorized_keys
PidFile $HOME_OF_CLUSTER/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
END
{
    echo "[127.0.0.2]:$PORT $(cut -d' ' -f1,2 host.pub)"
    echo "[127.0.0.3]:$PORT $(cut -d' ' -f1,2 host.pub)"
} >known_hosts
cat >ssh_config <<END
Host one
    HostName 127.0.0.2
Host two
    HostName 127.0.0.3
Host nobody
    HostName 127.0.0.4
Host stranger
    HostName 127.0.0.2
    IdentityFile $HOME_OF_CLUSTER/stranger
Host one two nobody
    IdentityFile $HOME_OF_CLUSTER/client
Host *
    Port $PORT
    User $(id -un)
    IdentitiesOnly yes
    UserKnownHostsFile $HOME_OF_CLUSTER/known_hosts
END
/usr/sbin/sshd -f "$HOME_OF_CLUSTER/sshd_config"

# -- Slurm: one node, two CPUs, partition "tests" -------------------------------------------------------------------
head -c 1024 /dev/urandom >munge/key
chmod 600 munge/key
munged --force --key-file="$PWD/munge/key" --socket="$PWD/munge/socket" --pid-file="$PWD/munged.pid" \
    --log-file="$PWD/munge/log" --seed-file="$PWD/munge/seed"
chmod 711 munge
cat >slurm.conf <<END
ClusterName=llmtui
SlurmctldHost=$NODE(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$HOME_OF_CLUSTER/munge/socket
CredType=cred/munge
SlurmctldPort=26817
SlurmdPort=26818
SlurmctldPidFile=$HOME_OF_CLUSTER/slurmctld.pid
SlurmdPidFile=$HOME_OF_CLUSTER/slurmd.pid
SlurmctldLogFile=$HOME_OF_CLUSTER/slurmctld.log
SlurmdLogFile=$HOME_OF_CLUSTER/slurmd.log
StateSaveLocation=$HOME_OF_CLUSTER/slurmctld
SlurmdSpoolDir=$HOME_OF_CLUSTER/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=requeue_delay=0,sched_interval=2
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) State=UNKNOWN
PartitionName=tests Nodes=$NODE Default=YES MaxTime=60 State=UP
END
export SLURM_CONF=$HOME_OF_CLUSTER/slurm.conf
slurmctld -c
slurmd
for _ in $(seq 60); do
    if sinfo --noheader --format %t 2>/dev/null | grep -q idle; then
        echo "ready: SLURM_CONF=$SLURM_CONF, ssh -F $HOME_OF_CLUSTER/ssh_config one"
        exit 0
    fi
    sleep 1
done
echo "Slurm's node did not become idle; see $HOME_OF_CLUSTER/slurmctld.log and slurmd.log" >&2
exit 1
