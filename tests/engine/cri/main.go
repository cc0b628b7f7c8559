// A small client of Kubernetes' container runtime interface, as a kubelet would call it.
//
//	cri [--address SOCKET] [--cgroup-parent PATH] COMMAND
//	  pull IMAGE | images | rmi IMAGE | fs
//	  pod NAME                          prints its id
//	  create POD IMAGE NAME COMMAND...  prints the container's id
//	  start ID | exec ID COMMAND... | stats ID | stop ID | rm ID | stopp POD | rmp POD
//
// Pods use the node's network: no CNI is needed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/pkg/dialer"
	"google.golang.org/grpc"
)

const callLimit = 60 * time.Second

type client struct {
	connection   *grpc.ClientConn
	cgroupParent string
}

func main() {
	address := flag.String("address", os.Getenv("CONTAINERD_ADDRESS"), "socket of the engine")
	cgroupParent := flag.String("cgroup-parent", os.Getenv("CRI_CGROUP_PARENT"), "cgroup of the pods")
	flag.Parse()
	status, err := run(*address, *cgroupParent, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(125)
	}
	os.Exit(status)
}

func (c *client) call(service, method string, request, response interface{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return c.connection.Invoke(ctx, "/runtime.v1."+service+"/"+method, request, response)
}

func (c *client) podConfig(name string) *podConfig {
	return &podConfig{
		Metadata:     &podMetadata{Name: name, UID: "uid-" + name, Namespace: "test"},
		LogDirectory: os.TempDir(),
		Linux: &podLinux{CgroupParent: c.cgroupParent,
			Security: &podSecurity{Namespaces: &namespaceOption{Network: namespaceOfNode}}},
	}
}

func run(address, cgroupParent string, args []string) (int, error) {
	arguments := map[string]int{"pull": 1, "images": 0, "rmi": 1, "fs": 0, "pod": 1, "create": 4, "start": 1, "exec": 2, "stats": 1,
		"stop": 1, "rm": 1, "stopp": 1, "rmp": 1}
	if len(args) == 0 {
		return 0, fmt.Errorf("no command")
	}
	command, args := args[0], args[1:]
	if least, ok := arguments[command]; !ok || len(args) < least {
		return 0, fmt.Errorf("%q is no command, or lacks arguments", command)
	}
	connection, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithContextDialer(dialer.ContextDialer))
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	c := &client{connection, cgroupParent}
	const images, runtime = "ImageService", "RuntimeService"
	switch command {
	case "pull":
		var response pullImageResponse
		err = c.call(images, "PullImage", &imageRequest{Image: &imageSpec{Image: args[0]}}, &response)
		fmt.Println(response.ImageRef)
	case "images":
		var response listImagesResponse
		err = c.call(images, "ListImages", &nothing{}, &response)
		for _, image := range response.Images {
			fmt.Println(image.ID, image.RepoTags)
		}
	case "rmi":
		err = c.call(images, "RemoveImage", &imageRequest{Image: &imageSpec{Image: args[0]}}, &nothing{})
	case "fs":
		var response imageFsInfoResponse
		err = c.call(images, "ImageFsInfo", &nothing{}, &response)
		for _, fs := range response.Filesystems {
			printUsage(fs)
		}
	case "pod":
		var response idMessage
		err = c.call(runtime, "RunPodSandbox", &runPodRequest{Config: c.podConfig(args[0])}, &response)
		fmt.Println(response.ID)
	case "create":
		var response idMessage
		err = c.call(runtime, "CreateContainer", &createContainerRequest{
			Pod: args[0],
			Config: &containerConfig{
				Metadata: &containerMetadata{Name: args[2]},
				Image:    &imageSpec{Image: args[1]},
				Command:  args[3:],
				LogPath:  args[2] + ".log",
				Linux:    &containerLinux{Security: &containerSecurity{Namespaces: &namespaceOption{Network: namespaceOfNode}}},
			},
			PodConfig: c.podConfig("of " + args[2]),
		}, &response)
		fmt.Println(response.ID)
	case "exec":
		var response execResponse
		err = c.call(runtime, "ExecSync", &execRequest{ID: args[0], Command: args[1:], Timeout: 30}, &response)
		os.Stdout.Write(response.Stdout)
		os.Stderr.Write(response.Stderr)
		return int(response.ExitCode), err
	case "stats":
		var response containerStatsResponse
		if err = c.call(runtime, "ContainerStats", &idMessage{args[0]}, &response); err == nil && response.Stats != nil {
			printUsage(response.Stats.WritableLayer)
		}
	case "stop":
		err = c.call(runtime, "StopContainer", &stopRequest{ID: args[0]}, &nothing{})
	default:
		method := map[string]string{"start": "StartContainer", "rm": "RemoveContainer", "stopp": "StopPodSandbox", "rmp": "RemovePodSandbox"}[command]
		err = c.call(runtime, method, &idMessage{args[0]}, &nothing{})
	}
	return 0, err
}

// printUsage: BYTES INODES PATH, or nothing if the engine does not know.
func printUsage(usage *filesystemUsage) {
	if usage == nil || usage.Bytes == nil || usage.Inodes == nil || usage.ID == nil {
		return
	}
	fmt.Println(usage.Bytes.Value, usage.Inodes.Value, usage.ID.Path)
}
