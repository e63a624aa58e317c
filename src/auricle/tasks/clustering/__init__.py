"""Do labels follow from distances between clips?"""
