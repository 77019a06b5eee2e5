"""What turns a batch of requests into pixels.

The protocol is in `base`. A generator is one file: its settings, which are checked before anything heavy is imported,
and what it does. `kinds` lists them; `pipeline` is what all that use diffusers have in common.
"""
