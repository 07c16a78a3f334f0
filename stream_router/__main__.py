from stream_router.cli import main

main(prog_name="stream-router")
