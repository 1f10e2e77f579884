"""Makes the ad blocker: an MV3 extension out of filter lists in Adblock Plus syntax."""
