"""Images per second beside other tools and beside the limit of the device.

Each benchmark is a module with

    measure(options)    yields a row as soon as it is known

The compared systems run in turn, round after round, on one machine. Their ratios are the result.
"""
