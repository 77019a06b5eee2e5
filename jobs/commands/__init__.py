"""One function per command. They put parts together; what is worth testing alone lies in `engine` and `shards`."""
