"""The bytes of files, for whoever has them open: `files` asks `readers` for what the store has and staging for what is new here."""
