"""Which sound occurs when?"""
