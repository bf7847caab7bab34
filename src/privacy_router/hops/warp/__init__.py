"""The WARP hop: profile, account, the account API, and the files that keep them."""
