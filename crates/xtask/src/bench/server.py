"""A server that runs code for its clients, as they are commonly written with FastAPI.

Prints its port. Calls share one process and everything in it, and one that crashes or hangs takes
the others with it.
"""

import io
import socket
from contextlib import redirect_stdout

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    code: str


app = FastAPI()


@app.post("/execute")
def execute(request: Request) -> dict[str, object]:
    output = io.StringIO()
    with redirect_stdout(output):
        value = eval(request.code, {})
    return {"value": value, "output": output.getvalue()}


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run(sockets=[listener])
