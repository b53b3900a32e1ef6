//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of the times in /proc/PID/stat; Linux shows them at 100 Hz to every program.
const ticksPerSecond = 100

// A process as /proc shows it.
type process struct {
	pid, parent int
	cpuSeconds  float64 // of its own and of the children it has waited for
	args        []string
}

// readProcess reads one process; ok is false when it is gone.
func readProcess(pid int) (p process, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, false
	}
	// The name in parentheses may hold spaces and parentheses, so count from the last one.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return p, false
	}
	p.pid = pid
	p.parent, _ = strconv.Atoi(fields[1])
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseFloat(f, 64)
		p.cpuSeconds += n / ticksPerSecond
	}
	line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	p.args = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	return p, true
}

// descendants returns the living processes below root, root included.
func descendants(root int) []process {
	children := map[int][]process{}
	entries, _ := os.ReadDir("/proc")
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			children[p.parent] = append(children[p.parent], p)
			if pid == root {
				all = append(all, p)
			}
		}
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

// cpuSeconds sums the processor time of pids.
func cpuSeconds(pids []int) (sum float64) {
	for _, pid := range pids {
		if p, ok := readProcess(pid); ok {
			sum += p.cpuSeconds
		}
	}
	return sum
}

// pssKiB sums the proportional set size of pids: memory shared by n processes counts one n-th in each.
func pssKiB(pids []int) (sum float64) {
	for _, pid := range pids {
		data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				sum += n
			}
		}
	}
	return sum
}

// loadAverage returns the three load averages as the kernel prints them.
func loadAverage() string {
	data, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(data))
	if len(fields) < 3 {
		return ""
	}
	return strings.Join(fields[:3], " ")
}

// A moment is what the whole machine and this program with all it started have used of the processors until then.
type moment struct {
	at         time.Time
	busy, ours float64 // seconds
}

func readMachine() moment {
	m := moment{at: time.Now()}
	data, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line)[1:] {
		if i == 3 || i == 4 || i > 7 { // idle, waiting for a disk, and guests, which are in user already
			continue
		}
		n, _ := strconv.ParseFloat(f, 64)
		m.busy += n / ticksPerSecond
	}
	for _, p := range descendants(os.Getpid()) {
		m.ours += p.cpuSeconds
	}
	return m
}

// othersSince is the share of the machine that went to somebody else since before, from 0 to 1: programs that have
// nothing to do with the measurement, the hypervisor's other guests, and the kernel's own threads.
func (m moment) othersSince(before moment) float64 {
	there := m.at.Sub(before.at).Seconds() * float64(runtime.NumCPU())
	return max(0, (m.busy-before.busy-(m.ours-before.ours))/there)
}

// machine names the host, its processor and its kernel.
func machine() string {
	host, _ := os.Hostname()
	model, cores := "", 0
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "processor":
			cores++
		case "model name":
			model = strings.TrimSpace(value)
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return host + ", " + strconv.Itoa(cores) + " x " + model + ", Linux " + strings.TrimSpace(string(release))
}
