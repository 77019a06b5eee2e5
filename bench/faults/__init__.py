"""The fault matrix: faults of real clusters are injected into real runs. Each run must end as if nothing had happened.

matrix.py      runs the faults and writes the table of results
fault.py       the Fault class and the decorator that registers faults
actors.py drivers.py nodes.py autoscaler.py disks.py stores.py units.py    the faults, by what breaks
scene.py       one run with a fault: its folder or bucket, its drivers, its actors
driver.py      one `python -m jobs generate`; command.py runs it with shuffled units
places.py      the files of a run in a folder or in a bucket, read without the engine
checks.py      what must hold after every fault
"""
