// Random calls by many clients against a model. Each client has names of its own, for which the model knows every answer, and
// takes part in a space of names that all share, for which only invariants hold. SUITE_KILLS kills the daemon that many times
// on the way: then what was acknowledged is there, and a call that was not is there as a whole or not at all.
//
//	SUITE_OPERATIONS (20000), SUITE_CLIENTS (8), SUITE_KILLS (0), SUITE_SEED (1)
package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/snapshots"
)

func setting(t *testing.T, name string, value int) int {
	if text := os.Getenv(name); text != "" {
		var err error
		if value, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return value
}

// known is what the model knows of a snapshot.
type known struct {
	info   snapshots.Info
	since  time.Time         // not created before; the zero time once `info` has the true times
	until  time.Time         // nor after
	mounts []mount.Mount     // as first returned; nil: not asked yet
	usage  *snapshots.Usage  // of a committed one, as first returned
	files  map[string]string // what the mounted tree holds
}

type state map[string]*known

func (s state) clone() state {
	copied := state{}
	for name, k := range s {
		c := *k
		copied[name] = &c
	}
	return copied
}

func (s state) hasChildren(name string) bool {
	for _, k := range s {
		if k.info.Parent == name {
			return true
		}
	}
	return false
}

var (
	errExists       = errdefs.ErrAlreadyExists
	errMissing      = errdefs.ErrNotFound
	errInvalid      = errdefs.ErrInvalidArgument
	errPrecondition = errdefs.ErrFailedPrecondition
)

// client makes calls and compares each answer. A failed comparison ends it.
type client struct {
	id      int
	d       *daemon
	random  *rand.Rand
	prefix  string
	state   state
	scratch string
	serial  int
	counts  map[string]int // operations that succeeded, by kind
	shared  *sharedSpace
}

func (c *client) name() string { return fmt.Sprintf("%s/%d", c.prefix, c.random.Intn(32)) }

// nameOf: the name of a snapshot of that kind, in one of `wild` cases and when there is none any name.
func (c *client) nameOf(kind snapshots.Kind, wild int) string {
	var found []string
	for name, k := range c.state {
		if k.info.Kind == kind {
			found = append(found, name)
		}
	}
	if c.random.Intn(wild) == 0 || len(found) == 0 {
		return c.name()
	}
	sort.Strings(found) // the seed alone decides
	return found[c.random.Intn(len(found))]
}

// newName: one that is not there, in one of `wild` cases any.
func (c *client) newName(wild int) string {
	name := c.name()
	for n := 0; n < 5 && c.state[name] != nil && c.random.Intn(wild) != 0; n++ {
		name = c.name()
	}
	return name
}

func (c *client) parent() string {
	if c.random.Intn(3) == 0 {
		return ""
	}
	return c.nameOf(snapshots.KindCommitted, 8)
}

func (c *client) labels() labels {
	var l labels
	for n := c.random.Intn(4); n > 0; n-- {
		if l == nil {
			l = labels{}
		}
		l[fmt.Sprintf("containerd.io/snapshot/l%d", c.random.Intn(4))] = fmt.Sprint(c.random.Intn(3))
	}
	return l
}

// interrupted: the daemon died under the call, which has happened or not.
func interrupted(err error) bool { return errdefs.IsUnavailable(err) }

// refused compares an answer with the errors that the model allows; none: it must succeed. True: the call failed, as it must.
func refused(err error, allowed ...error) (bool, error) {
	if len(allowed) == 0 {
		return false, err
	}
	for _, a := range allowed {
		if errors.Is(err, a) {
			return true, nil
		}
	}
	return false, fmt.Errorf("answer %v, want one of %v", err, allowed)
}

// compare: a snapshot as the daemon tells it. Learns the times when the model does not know them yet.
func (k *known) compare(got snapshots.Info) error {
	want := k.info
	if !k.until.IsZero() {
		if got.Created.Before(k.since) || got.Created.After(k.until) || !got.Updated.Equal(got.Created) {
			return fmt.Errorf("%q was created at %v and updated at %v, but between %v and %v", got.Name, got.Created, got.Updated, k.since, k.until)
		}
		want.Created, want.Updated = got.Created, got.Updated
	}
	if got.Name != want.Name || got.Parent != want.Parent || got.Kind != want.Kind || !sameLabels(got.Labels, want.Labels) ||
		!got.Created.Equal(want.Created) || !got.Updated.Equal(want.Updated) {
		return fmt.Errorf("snapshot is %+v, want %+v", got, want)
	}
	k.info.Created, k.info.Updated, k.since, k.until = want.Created, want.Updated, time.Time{}, time.Time{}
	return nil
}

// List compares all snapshots of this client.
func (c *client) compareAll(ctx context.Context, want state) error {
	all, err := statAll(ctx, c.d, "name~=^"+c.prefix+"/")
	if err != nil {
		return err
	}
	for name, info := range all {
		k, ok := want[name]
		if !ok {
			return fmt.Errorf("%q is there and must not be: %+v", name, info)
		}
		if err := k.compare(info); err != nil {
			return err
		}
	}
	for name := range want {
		if _, ok := all[name]; !ok {
			return fmt.Errorf("%q must be there: %+v", name, want[name].info)
		}
	}
	return nil
}

// afterInterruption: the state is the one before the call or the one after it.
func (c *client) afterInterruption(ctx context.Context, after state) error {
	c.counts["interrupted"]++
	for {
		failed := c.compareAll(ctx, after)
		if failed == nil {
			c.state = after
			return nil
		}
		before := c.compareAll(ctx, c.state)
		if before == nil {
			return nil
		}
		if !interrupted(failed) && !interrupted(before) { // else it was killed again meanwhile
			return fmt.Errorf("after the daemon was killed in a call: neither as after it (%v) nor as before (%v)", failed, before)
		}
	}
}

// change makes a changing call: `allowed` errors or success; `apply` does to a state what success means.
func (c *client) change(ctx context.Context, what string, call func() error, apply func(state), allowed ...error) error {
	started := time.Now()
	err := call()
	if interrupted(err) {
		after := c.state.clone()
		if len(allowed) == 0 {
			apply(after)
			c.within(after, started)
		}
		err = c.afterInterruption(ctx, after)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	failed, err := refused(err, allowed...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if failed {
		c.counts["refused "+strings.Fields(what)[0]]++
		return nil
	}
	c.counts[strings.Fields(what)[0]]++
	apply(c.state)
	c.within(c.state, started)
	return nil
}

// within sets the time limits of what has just been made.
func (c *client) within(s state, started time.Time) {
	for _, k := range s {
		if k.info.Created.IsZero() && k.until.IsZero() {
			k.since, k.until = started, time.Now()
		}
	}
}

func (c *client) create(ctx context.Context, kind snapshots.Kind) error {
	key, parent, l := c.newName(5), c.parent(), c.labels()
	var allowed []error
	if _, ok := c.state[key]; ok {
		allowed = append(allowed, errExists)
	}
	if up, ok := c.state[parent]; !ok && parent != "" {
		allowed = append(allowed, errMissing)
	} else if ok && up.info.Kind != snapshots.KindCommitted {
		allowed = append(allowed, errInvalid)
	}
	var mounts []mount.Mount
	make, verb := c.d.Prepare, "prepare"
	if kind == snapshots.KindView {
		make, verb = c.d.View, "view"
	}
	return c.change(ctx, fmt.Sprintf("%s %q on %q", verb, key, parent), func() (err error) {
		mounts, err = make(ctx, key, parent, withLabels(l))
		if err == nil && len(mounts) == 0 {
			return errors.New("no mount")
		}
		return err
	}, func(s state) {
		files := map[string]string{}
		if up := s[parent]; up != nil {
			files = up.files
		}
		s[key] = &known{info: snapshots.Info{Name: key, Parent: parent, Kind: kind, Labels: l}, mounts: mounts, files: files}
	}, allowed...)
}

func (c *client) commit(ctx context.Context) error {
	name, key, l := c.newName(5), c.nameOf(snapshots.KindActive, 6), c.labels()
	var allowed []error
	if _, ok := c.state[name]; ok {
		allowed = append(allowed, errExists)
	}
	if k, ok := c.state[key]; !ok {
		allowed = append(allowed, errMissing)
	} else if k.info.Kind != snapshots.KindActive {
		allowed = append(allowed, errPrecondition)
	}
	return c.change(ctx, fmt.Sprintf("commit %q as %q", key, name), func() error {
		return c.d.Commit(ctx, name, key, withLabels(l))
	}, func(s state) {
		old := s[key]
		delete(s, key)
		s[name] = &known{info: snapshots.Info{Name: name, Parent: old.info.Parent, Kind: snapshots.KindCommitted, Labels: l}, files: old.files}
	}, allowed...)
}

func (c *client) remove(ctx context.Context) error {
	name := c.name()
	for n := 0; n < 8 && (c.state[name] == nil || c.state.hasChildren(name)) && c.random.Intn(12) != 0; n++ {
		name = c.name()
	}
	var allowed []error
	if _, ok := c.state[name]; !ok {
		allowed = append(allowed, errMissing)
	} else if c.state.hasChildren(name) {
		allowed = append(allowed, errPrecondition)
	}
	return c.change(ctx, fmt.Sprintf("remove %q", name), func() error {
		err := c.d.Remove(ctx, name)
		if errdefs.IsFailedPrecondition(err) && !strings.Contains(err.Error(), "remove") {
			return fmt.Errorf("error without the word remove: %v", err)
		}
		return err
	}, func(s state) { delete(s, name) }, allowed...)
}

func (c *client) update(ctx context.Context) error {
	name, l := c.name(), c.labels()
	var paths []string
	changed := func(labels) labels { return l }
	var allowed []error
	switch c.random.Intn(8) {
	case 0, 1:
	case 2, 3:
		paths = []string{"labels"}
	case 4:
		paths, allowed = []string{"parent"}, []error{errInvalid}
	default:
		field := fmt.Sprintf("containerd.io/snapshot/l%d", c.random.Intn(4))
		paths = []string{"labels." + field}
		changed = func(before labels) labels {
			after := labels{}
			for key, value := range before {
				after[key] = value
			}
			delete(after, field)
			if value := l[field]; value != "" {
				after[field] = value
			}
			return after
		}
	}
	k, ok := c.state[name]
	if !ok {
		allowed = append(allowed, errMissing)
	}
	if ok && !k.until.IsZero() { // a mask does not tell when it was created: learn it first
		info, err := c.d.Stat(ctx, name)
		if interrupted(err) {
			return nil
		}
		if err == nil {
			err = k.compare(info)
		}
		if err != nil {
			return fmt.Errorf("stat %q: %w", name, err)
		}
	}
	var got snapshots.Info
	started := time.Now()
	return c.change(ctx, fmt.Sprintf("update %q %v", name, paths), func() (err error) {
		got, err = c.d.Update(ctx, snapshots.Info{Name: name, Labels: l}, paths...)
		if err == nil && (got.Updated.Before(started) || got.Updated.After(time.Now())) {
			return fmt.Errorf("updated at %v, started at %v", got.Updated, started)
		}
		return err
	}, func(s state) {
		s[name].info.Labels = changed(s[name].info.Labels)
		if got.Name != "" {
			s[name].info.Updated = got.Updated
			return
		}
		// Interrupted: only a look can tell the time. It must not be an earlier one.
		if info, err := c.d.Stat(ctx, name); err == nil && !info.Updated.Before(s[name].info.Updated) {
			s[name].info.Updated = info.Updated
		}
	}, allowed...)
}

// look makes a call that changes nothing; what was interrupted is no answer.
func (c *client) look(what string, err error, check func() error, allowed ...error) error {
	if interrupted(err) {
		return nil
	}
	failed, err := refused(err, allowed...)
	if err == nil && !failed {
		err = check()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c.counts[strings.Fields(what)[0]]++
	return nil
}

func (c *client) stat(ctx context.Context) error {
	name := c.name()
	k, ok := c.state[name]
	var allowed []error
	if !ok {
		allowed = append(allowed, errMissing)
	}
	info, err := c.d.Stat(ctx, name)
	return c.look(fmt.Sprintf("stat %q", name), err, func() error { return k.compare(info) }, allowed...)
}

func (c *client) usage(ctx context.Context) error {
	name := c.name()
	k, ok := c.state[name]
	var allowed []error
	if !ok {
		allowed = append(allowed, errMissing)
	}
	usage, err := c.d.Usage(ctx, name)
	return c.look(fmt.Sprintf("usage %q", name), err, func() error {
		if usage.Size < 0 || usage.Inodes < 0 {
			return fmt.Errorf("%+v", usage)
		}
		if k.info.Kind == snapshots.KindCommitted {
			if k.usage != nil && *k.usage != usage {
				return fmt.Errorf("a committed snapshot's usage changed from %+v to %+v", *k.usage, usage)
			}
			k.usage = &usage
		}
		return nil
	}, allowed...)
}

func (c *client) mounts(ctx context.Context) error {
	name := c.name()
	k, ok := c.state[name]
	var allowed []error
	if !ok {
		allowed = append(allowed, errMissing)
	} else if k.info.Kind == snapshots.KindCommitted {
		allowed = append(allowed, errPrecondition)
	}
	mounts, err := c.d.Mounts(ctx, name)
	return c.look(fmt.Sprintf("mounts %q", name), err, func() error {
		if len(mounts) == 0 {
			return errors.New("no mount")
		}
		if k.mounts != nil && !reflect.DeepEqual(k.mounts, mounts) {
			return fmt.Errorf("changed from %+v to %+v", k.mounts, mounts)
		}
		k.mounts = mounts
		return nil
	}, allowed...)
}

func (c *client) list(ctx context.Context) error {
	err := c.compareAll(ctx, c.state)
	return c.look("list", err, func() error { return nil })
}

// tree mounts one, compares all that it holds and, if it is active, changes a file.
func (c *client) tree(ctx context.Context) error {
	name := c.nameOf(snapshots.KindActive, 3)
	k, ok := c.state[name]
	if !ok || k.info.Kind == snapshots.KindCommitted {
		return nil
	}
	mounts, err := c.d.Mounts(ctx, name)
	return c.look(fmt.Sprintf("tree %q", name), err, func() error {
		if err := mount.All(mounts, c.scratch); err != nil {
			return err
		}
		err := func() error {
			found, err := readFiles(c.scratch)
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(found, k.files) {
				return fmt.Errorf("holds %v, want %v", found, k.files)
			}
			if k.info.Kind != snapshots.KindActive {
				return nil
			}
			c.serial++
			files := map[string]string{}
			for path, content := range k.files {
				files[path] = content
			}
			path := fmt.Sprintf("f%d", c.random.Intn(4))
			if _, there := files[path]; there && c.random.Intn(3) == 0 {
				delete(files, path)
				err = os.Remove(filepath.Join(c.scratch, path))
			} else {
				files[path] = fmt.Sprintf("client %d, number %d", c.id, c.serial)
				err = os.WriteFile(filepath.Join(c.scratch, path), []byte(files[path]), 0644)
			}
			k.files = files
			return err
		}()
		if unmounted := mount.UnmountAll(c.scratch, 0); err == nil {
			err = unmounted
		}
		return err
	})
}

func readFiles(root string) (map[string]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(root, entry.Name()))
		if err != nil {
			return nil, err
		}
		files[entry.Name()] = string(content)
	}
	return files, nil
}

// sharedSpace: names that all clients fight for. For each, creations minus removals is what is there in the end.
type sharedSpace struct {
	mu      sync.Mutex
	there   map[string]int
	unknown map[string]bool // a call on it was interrupted
}

func (s *sharedSpace) count(err error, created, gone string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, by := range map[string]int{created: 1, gone: -1} {
		if name != "" && err == nil {
			s.there[name] += by
		} else if name != "" && interrupted(err) {
			s.unknown[name] = true
		}
	}
}

func (c *client) inShared(ctx context.Context) error {
	name := func() string { return fmt.Sprintf("shared/%d", c.random.Intn(10)) }
	key, other := name(), name()
	var err error
	var allowed []error
	what := ""
	switch c.random.Intn(7) {
	case 0, 1:
		if c.random.Intn(3) == 0 {
			other = ""
		}
		what, allowed = "prepare", []error{errExists, errMissing, errInvalid}
		if err = second(c.d.Prepare(ctx, key, other)); key != other {
			c.shared.count(err, key, "")
		} else if err == nil {
			err = errors.New("a snapshot on itself")
		}
	case 2:
		what, allowed = "view", []error{errExists, errMissing, errInvalid}
		err = second(c.d.View(ctx, key, other))
		c.shared.count(err, key, "")
	case 3:
		what, allowed = "commit", []error{errExists, errMissing, errPrecondition}
		if err = c.d.Commit(ctx, other, key); key != other {
			c.shared.count(err, other, key)
		} else if err == nil {
			err = errors.New("a commit over itself")
		}
	case 4:
		what, allowed = "remove", []error{errMissing, errPrecondition}
		err = c.d.Remove(ctx, key)
		c.shared.count(err, "", key)
	case 5:
		what, allowed = "stat", []error{errMissing}
		var info snapshots.Info
		if info, err = c.d.Stat(ctx, key); err == nil && (info.Name != key || info.Kind == snapshots.KindUnknown) {
			err = fmt.Errorf("stat says %+v", info)
		}
	case 6:
		what, allowed = "mounts", []error{errMissing, errPrecondition}
		err = second(c.d.Mounts(ctx, key))
	}
	if err == nil || interrupted(err) {
		c.counts["shared"]++
		return nil
	}
	if _, wrong := refused(err, allowed...); wrong != nil {
		return fmt.Errorf("%s in the shared space, %q and %q: %w", what, key, other, wrong)
	}
	c.counts["refused shared"]++
	return nil
}

func (s *sharedSpace) check(ctx context.Context, d *daemon) error {
	all, err := statAll(ctx, d, "name~=^shared/")
	if err != nil {
		return err
	}
	for name, info := range all {
		if up, ok := all[info.Parent]; info.Parent != "" && (!ok || up.Kind != snapshots.KindCommitted) {
			return fmt.Errorf("%q stands on %q, which is %+v", name, info.Parent, up)
		}
	}
	for name, count := range s.there {
		if _, ok := all[name]; !s.unknown[name] && (count != 0 && count != 1 || ok != (count == 1)) {
			return fmt.Errorf("%q: creations less removals are %d, and it is there: %v", name, count, ok)
		}
	}
	return nil
}

func (c *client) step(ctx context.Context) error {
	switch n := c.random.Intn(100); {
	case n < 17:
		return c.create(ctx, snapshots.KindActive)
	case n < 21:
		return c.create(ctx, snapshots.KindView)
	case n < 31:
		return c.commit(ctx)
	case n < 47:
		return c.remove(ctx)
	case n < 54:
		return c.update(ctx)
	case n < 66:
		return c.stat(ctx)
	case n < 74:
		return c.usage(ctx)
	case n < 82:
		return c.mounts(ctx)
	case n < 84:
		return c.list(ctx)
	case n < 88:
		return c.tree(ctx)
	default:
		return c.inShared(ctx)
	}
}

func TestRandomCallsAnswerAsTheModelSays(t *testing.T) {
	ctx, d := startDaemon(t)
	total, clients := setting(t, "SUITE_OPERATIONS", 20000), setting(t, "SUITE_CLIENTS", 8)
	kills, seed := setting(t, "SUITE_KILLS", 0), setting(t, "SUITE_SEED", 1)
	shared := &sharedSpace{there: map[string]int{}, unknown: map[string]bool{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var done int64
	all := make([]*client, clients)
	results := make([]error, clients)
	var running sync.WaitGroup
	started := time.Now()
	for i := range all {
		all[i] = &client{id: i, d: d, random: rand.New(rand.NewSource(int64(seed*1000 + i))), prefix: fmt.Sprintf("client%d", i),
			state: state{}, scratch: t.TempDir(), counts: map[string]int{}, shared: shared}
		running.Add(1)
		go func(c *client, result *error) {
			defer running.Done()
			for n := 0; n < total/clients && ctx.Err() == nil; n++ {
				call, stop := context.WithTimeout(ctx, callLimit)
				err := c.step(call)
				stop()
				if err != nil && ctx.Err() == nil {
					*result = fmt.Errorf("client %d, operation %d: %w", c.id, n, err)
					cancel() // one is enough
				}
				atomic.AddInt64(&done, 1)
			}
		}(all[i], &results[i])
	}
	killed := make(chan error, 1)
	go func() {
		random := rand.New(rand.NewSource(int64(seed)))
		for n := 1; n <= kills && ctx.Err() == nil; n++ {
			// Spread over the operations, at any moment within one.
			for int(atomic.LoadInt64(&done)) < total/(kills+1)*n && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Duration(random.Intn(3000)) * time.Microsecond)
			d.Kill()
			err := d.Start()
			if err == nil && n%4 == 0 { // and while it starts
				time.Sleep(time.Duration(random.Intn(20000)) * time.Microsecond)
				d.Kill()
				err = d.Start()
			}
			if err == nil {
				err = d.WaitUntilServing(context.Background())
			}
			if err != nil {
				cancel()
				killed <- fmt.Errorf("after kill %d: %w", n, err)
				return
			}
		}
		killed <- nil
	}()
	running.Wait()
	elapsed := time.Since(started)
	failed := false
	for _, err := range append(results, <-killed) {
		if err != nil {
			t.Error(err)
			failed = true
		}
	}
	if failed {
		return
	}
	must(t, d.WaitUntilServing(ctx))
	counts := map[string]int{}
	for _, c := range all {
		if err := c.compareAll(ctx, c.state); err != nil {
			t.Errorf("client %d at the end: %v", c.id, err)
		}
		for what, n := range c.counts {
			counts[what] += n
		}
	}
	if err := shared.check(ctx, d); err != nil {
		t.Error(err)
	}
	for _, what := range []string{"prepare", "view", "commit", "remove", "update", "stat", "usage", "mounts", "list", "tree", "shared",
		"refused prepare", "refused commit", "refused remove"} {
		if counts[what] == 0 && total >= 1000 {
			t.Errorf("no %s: the test says nothing about it", what)
		}
	}
	if kills > 0 && counts["interrupted"] == 0 {
		t.Logf("no changing call was interrupted by %d kills", kills)
	}
	t.Logf("seed %d: %d operations in %.1f s, %d kills: %v", seed, done, elapsed.Seconds(), kills, counts)
}
