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


def test_a_signal_that_another_thread_received_ends_a_sleep():
    done = run("""
    threading.Thread(target=strike).start()
    with Interrupt() as interrupt:
        try:
            time.sleep(3600)
        except KeyboardInterrupt:
            interrupt.caught()
            print("ended")
    """)
    assert done.returncode == 0 and done.stdout == "ended\n", done.stderr


def test_an_interrupt_inside_a_destructor_comes_later_and_without_noise():
    done = run("""
    with Interrupt() as interrupt:
        try:
            Swallowing()
            time.sleep(3600)
        except KeyboardInterrupt:
            interrupt.caught()
            print("ended")
    """)
    assert done.returncode == 0 and done.stdout == "ended\n" and not done.stderr, done.stderr


def test_what_follows_the_interrupt_is_not_interrupted():
    done = run("""
    with Interrupt() as interrupt:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(3600)
        except KeyboardInterrupt:
            interrupt.caught()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        time.sleep(1.2)
        print("closed in order")
    """)
    assert done.returncode == 0 and done.stdout == "closed in order\n", done.stderr


def test_nor_is_its_arrival_though_it_takes_long():
    """On a busy machine a second one once came before `caught` was reached, and left a node without its end."""
    done = run("""
    with Interrupt() as interrupt:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            time.sleep(1.2)
        finally:
            interrupt.caught()
            print("closed in order")
    """)
    assert done.returncode == 0 and done.stdout == "closed in order\n", done.stderr


def test_nor_is_an_end_that_began_without_it():
    done = run("""
    def strike_at_once(frame, event, argument):
        if event == "call" and frame.f_code.co_name == "caught":
            os.kill(os.getpid(), signal.SIGINT)

    with Interrupt() as interrupt:
        try:
            sys.setprofile(strike_at_once)
        finally:
            interrupt.caught()
            sys.setprofile(None)
            print("closed in order")
    """)
    assert done.returncode == 0 and done.stdout == "closed in order\n", done.stderr


def test_without_a_signal_nothing_is_raised_and_all_is_as_before():
    done = run("""
    with Interrupt() as interrupt:
        time.sleep(0.7)
        interrupt.caught()
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
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            interrupt.caught()
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
