#!/usr/bin/env python3.9
import collections
from models import *

CHECK_INTERVAL = 0.5
START_METRIC = 100
MAX_STORED_TEST_RESULT_COUNT = 50

MAX_FAILED_CHECKS = 50
MIN_CONSECUTIVE_SUCCEEDED_CHECKS = 1
STICKY_PROVIDER_FILENAME = "sticky.provider"

# The first and the third have the same gateway address on the same network.
providers: list[Provider] = [
    Provider(id="isp1", interface_name="eth1", ipv4_address="10.10.1.1",
             network="10.10.1.0/24", gateway="10.10.1.254", rt_table_name="R1", rt_table_id=1),

    Provider(id="isp2", interface_name="eth2", ipv4_address="10.10.2.2",
             network="10.10.2.0/24", gateway="10.10.2.254", rt_table_name="R2", rt_table_id=2),

    Provider(id="isp3", interface_name="eth3", ipv4_address="10.10.1.3",
             network="10.10.1.0/24", gateway="10.10.1.254", rt_table_name="R3", rt_table_id=3),
]

test_cases: list[TestScenario] = [
    TestScenarioPing("8.8.8.8")
]
