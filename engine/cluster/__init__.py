"""Generation, training and sweeps on Ray. Nothing else of this project imports ray.

driver           the main loop of a generation run
failure_policy   all rules about retries; node_health and stopping decide about the rest
actor_pool       the actors and their assignments (assignments.py); actor is what runs in their processes
work_queue       the units that wait, and the quarantine
"""
