"""Which clips differ from the normal ones?"""
