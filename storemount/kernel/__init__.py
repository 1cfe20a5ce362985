"""The kernel's side: the channel and its features, mountpoints, and what surrounds each verb of `storemount.fs`."""
