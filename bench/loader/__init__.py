"""Our stream beside other loaders: samples per second and memory for the same samples, each in the loader's own format.

run.py           the command: rounds, results, tables
environment.py   a virtual environment for the benchmark, because other loaders need packages that conflict with ours
workloads.py     the data: encoded images with labels
systems/         one file per loader: writes its format and reads it
measure.py       one measurement, in its own process within that environment
s3.py            our stream from an S3 server on the loopback, beside the same shards on this disk
table.py         turns measurements into rows and ratios
"""
