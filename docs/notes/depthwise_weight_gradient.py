"""The weight gradient of depthwise convolutions of 5x5 and 7x7 is slow: python depthwise_weight_gradient.py [CHANNELS SIDE]."""

import sys
import time

import torch

channels, side = map(int, sys.argv[1:] or (240, 28))
torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    x = torch.randn(8, channels, side, side).to(dtype, memory_format=torch.channels_last)
    for kernel in (3, 5, 7):
        weight = torch.randn(channels, 1, kernel, kernel).to(dtype)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            torch.ops.aten.convolution_backward(
                x, x, weight, None, [1, 1], [kernel // 2] * 2, [1, 1], False, [0, 0], channels, [False, True, False]
            )
            seconds.append(time.perf_counter() - began)
        print(f"{torch.__version__} {dtype} {channels} channels {side} px {kernel}x{kernel}: {min(seconds) * 1e3:.2f} ms")
