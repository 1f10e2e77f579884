"""Solves captchas that pages of a session show.

A service of the node, not an extension inside the browser: the key of the solver service never comes into a process
that a page may take over, and pages get nothing but the answer that they asked for.
"""
