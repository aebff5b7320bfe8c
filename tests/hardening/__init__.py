"""Harnesses that run for minutes: bad inputs by the thousand, and runs killed at random moments.

``make fuzz`` and ``make crashtest`` run them. pytest collects their tests in miniature only.
"""
