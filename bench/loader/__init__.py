"""Our stream beside other loaders: the same samples, each loader's own form on disk, samples per second and memory.

run.py           the command: rounds, results, tables
environment.py   an environment of its own, for the others need packages that clash with ours
workloads.py     what is read: encoded images with labels
systems/         a file per loader: how it writes its form, and how it reads it
measure.py       one measurement, in a process of its own, within that environment
s3.py            our stream from a store on the loopback, beside the same shards on this disk
table.py         from measurements to rows and ratios
"""
