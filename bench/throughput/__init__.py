"""Images per second beside what a user would pick instead, and beside the limit.

Each benchmark is one module with

    measure(options)    rows, each as soon as it is known

Everything that is compared in a benchmark takes turns, round after round, on one machine: the ratio is what counts.
"""
