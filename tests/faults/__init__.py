"""The fault drill: break the tiny pipeline in many ways, and compare what it makes with an undisturbed run.

``python -m tests.faults`` runs it whole, in about an hour on two cores, and writes what it found to
``results/faults.json`` and, as a table, ``results/faults.md``; ``--help`` tells how to run a part.
pytest does not collect it.
"""
