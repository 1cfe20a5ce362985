"""Nothing that was closed is lost: daemons killed at any moment, and machines that lose their power (S6-S10)."""
