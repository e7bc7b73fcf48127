"""Limits of C's float that Caffe's layers begin or stop at."""

LOWEST = -3.4028234663852886e38  # -FLT_MAX: the maximum of nothing
FLT_MIN = 1.1754943508222875e-38  # the least probability that losses take the logarithm of
