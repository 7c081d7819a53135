"""The demonstration: a PostgreSQL of its own, a simulated marketplace, and `syncd` between the two.

It starts the very commands that it shows, as processes, and touches nothing outside its folder.
"""
