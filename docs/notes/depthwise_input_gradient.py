"""The input gradient of depthwise convolutions of stride 2 in bfloat16 is slow: python depthwise_input_gradient.py [CHANNELS SIDE KERNEL]."""

import sys
import time

import torch

channels, side, kernel = map(int, sys.argv[1:] or (672, 14, 5))
torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    x = torch.randn(8, channels, side, side).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, kernel, kernel).to(dtype)
    y = torch.nn.functional.conv2d(x, weight, stride=2, padding=kernel // 2, groups=channels)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        torch.ops.aten.convolution_backward(
            y, x, weight, None, [2, 2], [kernel // 2] * 2, [1, 1], False, [0, 0], channels, [True, False, False]
        )
        seconds.append(time.perf_counter() - began)
    print(f"{torch.__version__} {dtype} {channels} channels {side} px {kernel}x{kernel}: {min(seconds) * 1e3:.2f} ms")
