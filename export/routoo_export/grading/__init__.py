"""Grades for the answers of pool models: samples prompts, asks, pays within a cap, and judges.

``run`` has the whole; ``sampling`` says which prompts, ``asking`` gets answers, ``purse`` keeps the
money, ``graders`` judge, ``agreement`` measures a judge, ``prompts`` and ``grades`` are the files.
"""
