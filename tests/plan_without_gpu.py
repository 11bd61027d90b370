"""Run by test_cudnn_plans.py: let cuDNN plan convolutions for GPUs that are not there.

Reads lists of cases by compute capability as JSON from standard input and writes, for each, the
bytes of memory the plan needs, or why there is none.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import cudnn

from pixelrl_chainer.kernels.cudnn_plan import Case, choose_plan, define

# Of an H200; what matters differs by compute capability and is set below.
PROPERTIES = {
    **{"cudaDeviceId": 0, "deviceName": "none", "driverVer": 13000, "pciDeviceId": 0},
    **{"maxGridSize": [2**31 - 1, 65535, 65535], "maxBlockSize": [1024, 1024, 64]},
    **{"regsPerBlock": 65536, "maxRegistersPerSM": 65536, "warpSize": 32, "maxCtasPerSM": 32},
    **{"maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "supportCoopLaunch": 1},
    **{"maxSharedMemoryPerBlock": 49152, "reservedSharedMemoryPerBlock": 1024},
    **{"oversizedSharedMemoryPerBlock": 0, "smCountOrigin": 0, "isTccDriver": 0},
    **{"smClockRateKHz": 1980000, "memClockRateKHz": 3201000, "memoryBusWidth": 6144},
    **{"l2CacheSize": 62914560, "totalGlobalMem": 150000000000},
}
SHARED_MEMORY = {70: 98304, 75: 65536, 80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448}


def plan(capability: int, case: Case) -> int | str:
    properties = {
        **PROPERTIES,
        "deviceVer": 10 * capability,
        "maxSharedMemoryPerBlockOptin": SHARED_MEMORY[capability],
        "multiProcessorCount": 132 if capability >= 90 else 80,
    }
    types: Any = dict.fromkeys(
        ("io_data_type", "intermediate_data_type", "compute_data_type"), cudnn.data_type.FLOAT
    )
    graph = cudnn.pygraph(
        **types, device_property=cudnn.create_device_properties(json.dumps(properties))
    )
    try:
        define(graph, case)
        choose_plan(graph, case.precision)
        return int(graph.get_workspace_size())
    except Exception as error:
        return " ".join(str(error).split())[-300:]


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    answers = {
        capability: [
            plan(int(capability), Case(case[0], tuple(case[1]), *case[2:])) for case in cases
        ]
        for capability, cases in wanted.items()
    }
    print(json.dumps(answers))
