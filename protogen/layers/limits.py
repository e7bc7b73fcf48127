"""Limits of C's float that Caffe's layers use as initial values and floors."""

LOWEST = -3.4028234663852886e38  # -FLT_MAX: the maximum over an empty set
FLT_MIN = 1.1754943508222875e-38  # the smallest probability that losses take the logarithm of
