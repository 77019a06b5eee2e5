"""The fault matrix: what breaks in real clusters is done to real runs, and each must end as if nothing had happened.

matrix.py      the table of faults, and the loop over it
fault.py       what a fault is
actors.py drivers.py nodes.py autoscaler.py disks.py stores.py units.py    the faults, by what breaks
scene.py       one run that a fault is done to: its place, its drivers, its actors
driver.py      one `python -m jobs generate`; command.py runs it with its units in another order
places.py      a folder, or a prefix of a bucket, seen from outside
checks.py      what must hold afterwards
"""
