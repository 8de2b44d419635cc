"""Error responses in the format of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.errors import LlmtuiError, UsageError
from core.run_names import RunNotFoundError
from llmtui.clients.inference_client import InferenceError, InferenceProcessError, InvalidRequestError

_CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class ApiError(Exception):
    """An error response: HTTP status, message, and the field at fault, if any."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.headers = {"www-authenticate": "Bearer"} if status == 401 else headers
        self.status, self.message, self.param, self.code = status, message, param, code or _CODES.get(status)

    @classmethod
    def of(cls, error: Exception) -> ApiError:
        """The response to `error`."""
        match error:
            case ApiError():
                return error
            case HTTPException():
                return cls(error.status_code, error.detail.lower(), headers=error.headers)
            case RunNotFoundError():
                return cls(404, _sentence(error), param="model", code="model_not_found")
            case InvalidRequestError() | UsageError():
                return cls(400, _sentence(error))
            case InferenceProcessError() | InferenceError():
                return cls(503, _sentence(error))
            case LlmtuiError():
                return cls(500, _sentence(error))
        return cls(500, "internal error; its traceback is on the server's standard error")

    def body(self) -> bytes:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})

    def response(self) -> Response:
        return Response(self.body(), self.status, self.headers, media_type="application/json")


def _sentence(error: LlmtuiError) -> str:
    return error.what + (f"; {error.todo}" if error.todo else "")


async def error_response(request: Request, error: Exception) -> Response:
    """Starlette's exception handler."""
    return ApiError.of(error).response()
