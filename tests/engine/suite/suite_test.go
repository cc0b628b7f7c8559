// containerd's own test-suite for snapshotters over the daemon's socket: as containerd's proxy plugin sees it, and once more
// with containerd's metadata layer in between, which renames, filters labels and collects garbage.
package suite

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/metadata"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/testsuite"
	bolt "go.etcd.io/bbolt"
)

// The suite skips a case by name: overlayfs cannot rename directories of lower layers, and we return overlay mounts.
const suiteName = "overlayfs"

func TestContainerdSuite(t *testing.T) {
	testsuite.SnapshotterSuite(t, suiteName, func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		d, err := newDaemon(ctx, root)
		if err != nil {
			return nil, nil, err
		}
		return d, func() error { return d.Finish(ctx) }, nil
	})
}

func openMetadata(d *daemon, root string) (*metadata.DB, func() error, error) {
	db, err := bolt.Open(filepath.Join(root, "metadata.db"), 0600, nil)
	if err != nil {
		return nil, nil, err
	}
	return metadata.NewDB(db, nil, map[string]snapshots.Snapshotter{snapshotterName: d}), db.Close, nil
}

func TestContainerdSuiteThroughMetadata(t *testing.T) {
	testsuite.SnapshotterSuite(t, suiteName, func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		d, err := newDaemon(ctx, root)
		if err != nil {
			return nil, nil, err
		}
		db, closeDB, err := openMetadata(d, root)
		if err != nil {
			return nil, nil, err
		}
		return db.Snapshotter(snapshotterName), func() error {
			if err := d.Finish(ctx); err != nil {
				return err
			}
			return closeDB()
		}, nil
	})
}

func openMetadataOf(t *testing.T, d *daemon) *metadata.DB {
	t.Helper()
	db, closeDB, err := openMetadata(d, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeDB(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Garbage collection calls without a namespace, on names of all namespaces.
func TestMetadataCollectsGarbageOfAllNamespaces(t *testing.T) {
	_, d := startDaemon(t)
	db := openMetadataOf(t, d)
	sn := db.Snapshotter(snapshotterName)
	rooted := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "now"})
	for _, name := range []string{"one", "two"} {
		ctx := namespaces.WithNamespace(context.Background(), name)
		parent := ""
		for i := 0; i < 3; i++ {
			key, layer := fmt.Sprintf("key%d", i), fmt.Sprintf("layer%d", i)
			must(t, second(sn.Prepare(ctx, key, parent)))
			must(t, sn.Commit(ctx, layer, key))
			parent = layer
		}
		must(t, second(sn.Prepare(ctx, "container", parent, rooted)))
		must(t, second(sn.View(ctx, "view", parent)))
	}
	count := func() (n int) {
		must(t, d.Walk(context.Background(), func(context.Context, snapshots.Info) error { n++; return nil }))
		return n
	}
	collect := func() {
		t.Helper()
		if _, err := db.GarbageCollect(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	collect()
	if got := count(); got != 8 { // the views have no root
		t.Fatalf("%d snapshots are left with their roots, want 8", got)
	}
	must(t, sn.Remove(namespaces.WithNamespace(context.Background(), "one"), "container"))
	collect()
	if got := count(); got != 4 {
		t.Fatalf("%d snapshots are left of the other namespace, want 4", got)
	}
	must(t, sn.Remove(namespaces.WithNamespace(context.Background(), "two"), "container"))
	collect()
	if got := count(); got != 0 {
		t.Fatalf("%d snapshots are left, want none", got)
	}
}

// What a pull does for each layer: Prepare with the label of the committed snapshot that it is for. A layer that another
// namespace has committed is adopted: nothing to fetch, nothing to unpack.
func TestMetadataAdoptsLayerOfAnotherNamespace(t *testing.T) {
	if atReference() {
		t.Skip("containerd's overlayfs does not adopt")
	}
	_, d := startDaemon(t)
	sn := openMetadataOf(t, d).Snapshotter(snapshotterName)
	one := namespaces.WithNamespace(context.Background(), "one")
	two := namespaces.WithNamespace(context.Background(), "two")
	parent := ""
	for _, chain := range []string{"sha256:aa", "sha256:bb"} {
		ref := snapshots.WithLabels(map[string]string{"containerd.io/snapshot.ref": chain})
		must(t, second(sn.Prepare(one, "extract "+chain, parent, ref)))
		must(t, sn.Commit(one, chain, "extract "+chain, ref))

		if err := second(sn.Prepare(two, "extract "+chain, parent, ref)); !errdefs.IsAlreadyExists(err) {
			t.Fatalf("prepare %s in the second namespace: %v, want already exists", chain, err)
		}
		info, err := sn.Stat(two, chain)
		must(t, err)
		if info.Kind != snapshots.KindCommitted || info.Parent != parent {
			t.Fatalf("adopted: %+v, want committed on %q", info, parent)
		}
		parent = chain
	}
	must(t, second(sn.Prepare(two, "container", parent)))
}
