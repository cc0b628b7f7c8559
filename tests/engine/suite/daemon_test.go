// A snapshotter daemon of the test's own: started, stopped, killed and started again on the same store, and the proof that
// nothing of it is left. What runs is the program in SNAPSHOTTERD, called as `PROGRAM --root DIR --address SOCKET`.
package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/pkg/dialer"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	snapshotterName = "snap"
	callLimit       = 60 * time.Second // a call that takes longer counts as a hang
	stopLimit       = 30 * time.Second
)

// starts hands commands to the one thread that starts all daemons: what PR_SET_PDEATHSIG watches is the starting thread.
var starts = make(chan func())

func TestMain(m *testing.M) {
	if os.Getenv("SNAPSHOTTERD") == "" {
		fmt.Fprintln(os.Stderr, "set SNAPSHOTTERD to the daemon")
		os.Exit(2)
	}
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	os.Exit(m.Run())
}

// atReference: the program is containerd's own snapshotter, which has none of our extensions.
func atReference() bool { return os.Getenv("SUITE_REFERENCE") != "" }

type daemon struct {
	root, socket string
	conn         *grpc.ClientConn
	snapshots.Snapshotter

	mu      sync.Mutex // guards the rest
	command *exec.Cmd
	exited  chan struct{}
	exit    error
	log     bytes.Buffer
}

// newDaemon starts the daemon on `root`/store and connects to it.
func newDaemon(ctx context.Context, root string) (*daemon, error) {
	d := &daemon{root: filepath.Join(root, "store"), socket: filepath.Join(root, "s.sock")}
	if err := os.MkdirAll(d.root, 0700); err != nil {
		return nil, err
	}
	if err := d.Start(); err != nil {
		return nil, err
	}
	// Calls wait for a daemon that is being started again; those under way when it dies fail.
	conn, err := grpc.Dial(d.socket, grpc.WithInsecure(), grpc.WithContextDialer(dialer.ContextDialer),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		return nil, err
	}
	d.conn = conn
	d.Snapshotter = proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), snapshotterName)
	if err := d.WaitUntilServing(ctx); err != nil {
		conn.Close()
		d.Kill()
		return nil, err
	}
	return d, nil
}

func startDaemon(t *testing.T) (context.Context, *daemon) {
	t.Helper()
	ctx := namespaces.WithNamespace(context.Background(), "testsuite")
	d, err := newDaemon(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Finish(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the daemon said:\n%s", d.Log())
		}
	})
	return ctx, d
}

func (d *daemon) Start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	command := exec.Command(os.Getenv("SNAPSHOTTERD"), "--root", d.root, "--address", d.socket)
	command.Stdout, command.Stderr = &lockedWriter{d}, &lockedWriter{d}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	starts <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		return err
	}
	exited := make(chan struct{})
	d.command, d.exited = command, exited
	go func() {
		err := command.Wait()
		d.mu.Lock()
		d.exit = err
		d.mu.Unlock()
		close(exited)
	}()
	return nil
}

type lockedWriter struct{ d *daemon }

func (w *lockedWriter) Write(text []byte) (int, error) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	return w.d.log.Write(text)
}

func (d *daemon) Log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

func (d *daemon) process() (pid int, exited chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.command.Process.Pid, d.exited
}

// WaitUntilServing: until it answers a call; an error when it ends instead.
func (d *daemon) WaitUntilServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, exited := d.process()
	go func() {
		select {
		case <-exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	_, err := d.Stat(ctx, "no such snapshot")
	if !errdefs.IsNotFound(err) {
		return fmt.Errorf("the daemon does not serve: %v; it said:\n%s", err, d.Log())
	}
	return nil
}

// Kill: SIGKILL, and the process is gone.
func (d *daemon) Kill() {
	pid, exited := d.process()
	_ = syscall.Kill(-pid, syscall.SIGKILL) // gone already: nothing to do
	<-exited
}

// Stop: SIGTERM. Errors: it did not end in time, did not end with 0, or left a process.
func (d *daemon) Stop() error {
	pid, exited := d.process()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("the daemon was not there any more: %w; it said:\n%s", err, d.Log())
	}
	select {
	case <-exited:
	case <-time.After(stopLimit):
		d.Kill()
		return fmt.Errorf("the daemon did not stop on SIGTERM; it said:\n%s", d.Log())
	}
	if err := syscall.Kill(-pid, 0); !errors.Is(err, syscall.ESRCH) {
		d.Kill()
		return fmt.Errorf("the daemon left a process of its group (%v)", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.exit != nil {
		return fmt.Errorf("the daemon stopped with: %w; it said:\n%s", d.exit, d.log.String())
	}
	return nil
}

func (d *daemon) Restart(ctx context.Context, stop func() error) error {
	if err := stop(); err != nil {
		return err
	}
	if err := d.Start(); err != nil {
		return err
	}
	return d.WaitUntilServing(ctx)
}

// RemoveAll removes every snapshot, children first.
func (d *daemon) RemoveAll(ctx context.Context) error {
	children := map[string]int{}
	parent := map[string]string{}
	if err := d.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		parent[info.Name] = info.Parent
		children[info.Parent]++
		return nil
	}); err != nil {
		return err
	}
	for len(parent) > 0 {
		before := len(parent)
		for name, up := range parent {
			if children[name] > 0 {
				continue
			}
			if err := d.Remove(ctx, name); err != nil {
				return fmt.Errorf("remove %q at the end: %w", name, err)
			}
			children[up]--
			delete(parent, name)
		}
		if len(parent) == before {
			return fmt.Errorf("the parents of %v go in a circle", parent)
		}
	}
	return d.Cleanup(ctx)
}

func (d *daemon) Cleanup(ctx context.Context) error {
	return d.Snapshotter.(snapshots.Cleaner).Cleanup(ctx)
}

// Finish removes every snapshot, stops the daemon and checks that no mount and no process is left; the store is sound then,
// says `snap system check` if SNAP names the program.
func (d *daemon) Finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callLimit)
	defer cancel()
	var failures []string
	note := func(err error) {
		if err != nil {
			failures = append(failures, err.Error())
		}
	}
	note(d.RemoveAll(ctx))
	note(d.Stop())
	note(d.conn.Close())
	left, err := mountsBelow(d.root)
	note(err)
	for _, target := range left {
		note(fmt.Errorf("mount %s is left", target))
		note(mount.UnmountAll(target, syscall.MNT_DETACH))
	}
	if snap := os.Getenv("SNAP"); snap != "" && !atReference() {
		check := exec.Command(snap, "system", "check")
		check.Env = append(os.Environ(), "SNAP_ROOT="+d.root, "SNAP_CONFIG=")
		if text, err := check.CombinedOutput(); err != nil {
			note(fmt.Errorf("snap system check: %w\n%s", err, text))
		}
	}
	if len(failures) > 0 {
		return errors.New(strings.Join(failures, "\n"))
	}
	return nil
}

// mountsBelow: the targets of all mounts that stand on, or are made of, something below `directory`; the last mounted first.
func mountsBelow(directory string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var targets []string
	for _, line := range strings.Split(string(table), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && strings.Contains(line, directory) {
			targets = append([]string{fields[4]}, targets...)
		}
	}
	return targets, nil
}
