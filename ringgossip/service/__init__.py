"""How is a running peer seen and spoken to? `host` opens a peer with its control socket and its status."""
