"""Do two clips have the same identity?"""
