package envoy

import "syscall"

// childAttr puts Envoy into a process group of its own, and ends it with us.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
