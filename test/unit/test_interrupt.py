"""Ctrl-C ends a program whose main thread does not hear of it, as threads of C++ make happen."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(body):
    program = """
    import gc, os, signal, sys, threading, time
    from qwenvl_ros.ros.interrupt import Interrupt

    def strike():
        "Another thread receives the signal, so that the main thread's wait is not disturbed."
        time.sleep(0.5)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    class Swallowing:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
    """
    text = textwrap.dedent(program) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        capture_output=True,
        text=True,
    )


def test_a_signal_that_another_thread_received_breaks_a_load_off():
    done = run("""
    threading.Thread(target=strike).start()
    with Interrupt() as interrupt:
        try:
            interrupt.breaks(time.sleep)(3600)
        except KeyboardInterrupt:
            print("ended")
    """)
    assert done.returncode == 0 and done.stdout == "ended\n", done.stderr


def test_it_comes_after_a_destructor_and_without_noise():
    done = run("""
    def load():
        Swallowing()
        time.sleep(3600)

    with Interrupt() as interrupt:
        try:
            interrupt.breaks(load)()
        except KeyboardInterrupt:
            print("ended")
    """)
    assert done.returncode == 0 and done.stdout == "ended\n" and not done.stderr, done.stderr


def test_a_load_gives_its_result_and_takes_its_arguments():
    done = run("""
    with Interrupt() as interrupt:
        print(interrupt.breaks(sorted)([1, 3, 2], reverse=True))
    """)
    assert done.stdout == "[3, 2, 1]\n", done.stderr


def test_a_signal_before_a_load_lets_it_not_begin():
    done = run("""
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            interrupt.breaks(print)("begun")
        except KeyboardInterrupt:
            print("ended")
    """)
    assert done.returncode == 0 and done.stdout == "ended\n", done.stderr


def test_what_follows_is_not_broken_off():
    done = run("""
    with Interrupt() as interrupt:
        try:
            interrupt.breaks(os.kill)(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
                time.sleep(1.2)
            print("closed in order")
    """)
    assert done.returncode == 0 and done.stdout == "closed in order\n", done.stderr


def test_nor_is_what_the_load_closes_while_the_exception_is_on_its_way():
    done = run("""
    def load():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            time.sleep(1.2)
            print("closed")
            raise

    with Interrupt() as interrupt:
        try:
            interrupt.breaks(load)()
        except KeyboardInterrupt:
            print("ended")
    """)
    assert done.returncode == 0 and done.stdout == "closed\nended\n", done.stderr


SPIN = """
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
node, executor = rclpy.create_node("spinning"), SingleThreadedExecutor()
executor.add_node(node)
"""


def spun(body):
    return run(textwrap.indent(SPIN + textwrap.dedent(body), "    "))


def test_a_spin_that_waits_ends_whatever_thread_received_the_signal():
    done = spun("""
    threading.Thread(target=strike).start()
    with Interrupt() as interrupt:
        interrupt.spin(executor)
        print("ended")
    """)
    assert done.returncode == 0 and done.stdout == "ended\n" and "Traceback" not in done.stderr, done.stderr


def test_a_spin_ends_after_the_callback_that_runs_wherever_in_rclpy_the_signal_comes():
    """Once an rclpy task was half built: its destructor wrote a traceback."""
    done = spun("""
    calls, ended = [], []

    def at_each(frame, event, argument):
        global left
        if event == "call" and "rclpy" in frame.f_code.co_filename:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    def callback():
        calls.append(time.sleep(0.001))
        ended.append(None)

    timer = node.create_timer(0.002, callback)
    for begun in range(1, 400):
        with Interrupt() as interrupt:
            left = begun
            sys.setprofile(at_each)
            interrupt.spin(executor)
            sys.setprofile(None)
    gc.collect()
    print(left <= 0, len(calls) == len(ended), len(calls) > 10)
    """)
    assert done.returncode == 0 and done.stdout == "True True True\n" and "Traceback" not in done.stderr, (
        done.stderr
    )


def test_a_spin_ends_where_rclpy_is_shut_down():
    done = spun("""
    node.create_timer(0.1, rclpy.shutdown)
    with Interrupt() as interrupt:
        interrupt.spin(executor)
        print(interrupt.came)
    """)
    assert done.returncode == 0 and done.stdout == "False\n", done.stderr


def test_without_a_signal_nothing_is_raised_and_all_is_as_before():
    done = run("""
    with Interrupt() as interrupt:
        time.sleep(0.7)
    print(interrupt.came)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(3600)
    except KeyboardInterrupt:
        print("interrupted")
    """)
    assert done.returncode == 0 and done.stdout == "False\ninterrupted\n", done.stderr


def test_a_signal_while_the_interpreter_goes_does_not_end_it_otherwise():
    """Python gives up its handlers before it is gone; a terminal and `ros2 launch` both signal."""
    text = """
    import os, signal, sys
    from qwenvl_ros.ros.interrupt import Interrupt
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
    big = sys.kept = [[number] for number in range(2_000_000)]
    print("over", flush=True)
    """
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdout is not None and program.stdout.readline() == "over\n"
        while program.poll() is None:
            program.send_signal(signal.SIGINT)
            time.sleep(0.001)
    assert program.returncode == 0
