"""A state of 20 kB for each address, of which all but every sixteenth can be compressed: for the end-to-end cases.

python blobs.py PORT, with the packages of server/functions-python.txt
"""

import hashlib
import sys

from aiohttp import web
from statefun import Context, Message, RequestReplyHandler, StatefulFunctions, ValueSpec
from statefun import kinesis_egress_message, make_json_type, simple_type

COMMAND = make_json_type("blobs.e2e/command")
BLOB = simple_type("blobs.e2e/blob", serialize_fn=lambda value: value, deserialize_fn=lambda value: value)
SIZE = 20_000

functions = StatefulFunctions()


def blob(context: Context) -> bytes:
    """The value that the address has to have, which looks like chance, or repeats itself."""
    address = context.address.id
    seed = hashlib.shake_256(address.encode())
    if int(address.rsplit("-", 1)[1]) % 16 == 0:
        return seed.digest(SIZE)
    return seed.digest(100) * (SIZE // 100)


@functions.bind(typename="blobs.e2e/fn", specs=[ValueSpec(name="blob", type=BLOB)])
def keep(context: Context, message: Message):
    if message.as_type(COMMAND)["do"] == "fill":
        context.storage.blob = blob(context)
        return
    found = context.storage.blob
    answer = "none" if found is None else "right" if found == blob(context) else "wrong"
    context.send_egress(
        kinesis_egress_message(
            typename="blobs.e2e/results", stream="results-stream", partition_key=context.address.id, value=answer
        )
    )


handler = RequestReplyHandler(functions)


async def serve(request: web.Request) -> web.Response:
    answer = await handler.handle_async(await request.read())
    return web.Response(body=answer, content_type="application/octet-stream")


if __name__ == "__main__":
    app = web.Application(client_max_size=64 << 20)
    app.add_routes([web.post("/statefun", serve)])
    web.run_app(app, print=None, host="127.0.0.1", port=int(sys.argv[1]))
