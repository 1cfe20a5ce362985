"""What a running mount can be asked: `client` asks over a unix socket, `answers` listens, `requests` is the list of words."""
