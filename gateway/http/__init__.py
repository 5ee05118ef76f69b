"""The HTTP door: FastAPI on uvicorn in the gateway's event loop, over the same methods as gRPC, and the page."""
