"""How fast a mounted store is, next to the plain directory and to other tools that mount one.

What it is: one run that measures storemount and every rival on PATH in turn, in the same minutes on the same data, so that ratios mean
something on any machine. Repetitions are interleaved: all subjects once, then all again.
What it is not: a test. Nothing here passes or fails by a time; a cell fails only when a mount breaks or gives wrong bytes.

Subjects: `plain`, the directory itself (local only); `storemount`; `rclone` (`mount --vfs-cache-mode full`, files go up as soon as
they are closed, otherwise its defaults); `s3fs` (S3 only, its defaults). Every cell starts with a fresh mount, an empty cache folder
and, as root, an empty page cache. The S3 server is a radosgw on the same machine, so its work takes part of the same cores;
`--latency 20ms` puts it as far away as a real one usually is.

Workloads and their figures (MiB/s and files/s: more is better; s: less is better):

start       `start`            from the command until the root of the mount has been listed
sequential  `read cold`        one large file in blocks of 1 MiB, just after mounting
            `read warm`        the same file again, through the same mount
again       `restart`          as `start`, with what a mount before it has left in its folders, which has read the large file
            `read again`       the large file, just after that
            `random 4K again`  as `random 4K cold`, after another restart
random      `random 4K cold`   single 4 KiB reads at places spread over the large file, just after mounting
write-4k    `write 4K closed`  a new large file in blocks of 4 KiB, until close returns
            `write 4K stored`  the same, until the whole of it is in the store
write-1m    `write 1M closed`, `write 1M stored`: the same in blocks of 1 MiB
small       `create closed`    new files of 4 KiB, each opened, written and closed, until the last close returns
            `create stored`    the same, until all are in the store
            `small cold`       open, read and close each of them in order of name, after a new mount
            `small warm`       the same again, through the same mount
            `rm -rf`           removing them all, until the command returns
            `rm -rf stored`    the same, until the store has none of them
untar       `untar`            as many small files out of an archive, until tar returns; `untar stored`, until all are in the store
removal     `rm -rf cold`      removing as many files that another client has put there; `rm -rf cold stored`, until they are gone there
save        `save`             a tenth of that, each written under another name and renamed; `save stored`, until all are in the store
list        `ls cold`          `ls -lR` of one directory of many entries, just after mounting
            `ls warm`          the same again

"In the store": what a program can wait for, and then seen from outside by another client. That is fsync for storemount and for the
plain directory (the disk has it), close for s3fs; for rclone there is nothing to wait for but the outside view itself.

For each workload also the subject's own cost: `cpu` seconds of its daemon from start to end, `rss` its peak resident memory in MiB, and
for S3 `requests`, how many the server answered (without those of the outside view).

Ratios: on local, to the plain directory; on S3, to the best rival. Above 1 is always better than the reference.
"""
