// Serves containerd's own overlayfs snapshotter over a socket, with snapshotterd's arguments: what the suite passes against
// this one is what containerd does itself, so a failure there is a mistake of the suite.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/overlay"
	"google.golang.org/grpc"
)

func main() {
	root := flag.String("root", "", "directory of the store")
	address := flag.String("address", "", "unix socket to serve")
	flag.Parse()
	if err := serve(*root, *address); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func serve(root, address string) error {
	syscall.Umask(0)
	snapshotter, err := overlay.NewSnapshotter(filepath.Join(root, "overlayfs"))
	if err != nil {
		return err
	}
	// A store that was never written cannot be listed or cleaned; and a Prepare that a SIGKILL interrupted leaves a directory on
	// which a later one fails ("rename ...: file exists").
	ctx := context.Background()
	_, _ = snapshotter.Prepare(ctx, "first", "") // fails where the interrupted one was; then the store has been written
	_ = snapshotter.Remove(ctx, "first")
	if err := snapshotter.(snapshots.Cleaner).Cleanup(ctx); err != nil {
		return err
	}
	if err := os.Remove(address); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		server.GracefulStop()
	}()
	if err := server.Serve(listener); err != nil {
		return err
	}
	return snapshotter.Close()
}
