"""The fault drill: break the tiny pipeline in many ways, and compare what it makes with an undisturbed run.

``python -m tests.faults`` runs it in about an hour on two cores; what it finds goes to ``results/faults.{json,md}``.
"""
