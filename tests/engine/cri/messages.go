// The messages of Kubernetes' container runtime interface (runtime.v1) with only the fields that are used here, since Debian 12
// has no package of them. Source of the numbers: api.proto of k8s.io/cri-api.
package main

import "github.com/golang/protobuf/proto"

type imageSpec struct {
	Image string `protobuf:"bytes,1,opt,name=image,proto3"`
}

type imageRequest struct { // Pull, Remove
	Image *imageSpec `protobuf:"bytes,1,opt,name=image,proto3"`
}

type pullImageResponse struct {
	ImageRef string `protobuf:"bytes,1,opt,name=image_ref,proto3"`
}

type imageInfo struct {
	ID       string   `protobuf:"bytes,1,opt,name=id,proto3"`
	RepoTags []string `protobuf:"bytes,2,rep,name=repo_tags,proto3"`
}

type listImagesResponse struct {
	Images []*imageInfo `protobuf:"bytes,1,rep,name=images,proto3"`
}

type number struct {
	Value uint64 `protobuf:"varint,1,opt,name=value,proto3"`
}

type mountpoint struct {
	Path string `protobuf:"bytes,1,opt,name=mountpoint,proto3"`
}

type filesystemUsage struct {
	Timestamp int64       `protobuf:"varint,1,opt,name=timestamp,proto3"`
	ID        *mountpoint `protobuf:"bytes,2,opt,name=fs_id,proto3"`
	Bytes     *number     `protobuf:"bytes,3,opt,name=used_bytes,proto3"`
	Inodes    *number     `protobuf:"bytes,4,opt,name=inodes_used,proto3"`
}

type imageFsInfoResponse struct {
	Filesystems []*filesystemUsage `protobuf:"bytes,1,rep,name=image_filesystems,proto3"`
}

type podMetadata struct {
	Name      string `protobuf:"bytes,1,opt,name=name,proto3"`
	UID       string `protobuf:"bytes,2,opt,name=uid,proto3"`
	Namespace string `protobuf:"bytes,3,opt,name=namespace,proto3"`
	Attempt   uint32 `protobuf:"varint,4,opt,name=attempt,proto3"`
}

const namespaceOfNode = 2

type namespaceOption struct {
	Network int32 `protobuf:"varint,1,opt,name=network,proto3"`
}

type podSecurity struct {
	Namespaces *namespaceOption `protobuf:"bytes,1,opt,name=namespace_options,proto3"`
}

type podLinux struct {
	CgroupParent string       `protobuf:"bytes,1,opt,name=cgroup_parent,proto3"`
	Security     *podSecurity `protobuf:"bytes,2,opt,name=security_context,proto3"`
}

type podConfig struct {
	Metadata     *podMetadata `protobuf:"bytes,1,opt,name=metadata,proto3"`
	LogDirectory string       `protobuf:"bytes,3,opt,name=log_directory,proto3"`
	Linux        *podLinux    `protobuf:"bytes,8,opt,name=linux,proto3"`
}

type runPodRequest struct {
	Config *podConfig `protobuf:"bytes,1,opt,name=config,proto3"`
}

type idMessage struct { // of a pod or a container, in requests and responses
	ID string `protobuf:"bytes,1,opt,name=id,proto3"`
}

type containerMetadata struct {
	Name string `protobuf:"bytes,1,opt,name=name,proto3"`
}

type containerSecurity struct {
	Namespaces *namespaceOption `protobuf:"bytes,3,opt,name=namespace_options,proto3"`
}

type containerLinux struct {
	Security *containerSecurity `protobuf:"bytes,2,opt,name=security_context,proto3"`
}

type containerConfig struct {
	Metadata *containerMetadata `protobuf:"bytes,1,opt,name=metadata,proto3"`
	Image    *imageSpec         `protobuf:"bytes,2,opt,name=image,proto3"`
	Command  []string           `protobuf:"bytes,3,rep,name=command,proto3"`
	LogPath  string             `protobuf:"bytes,11,opt,name=log_path,proto3"`
	Linux    *containerLinux    `protobuf:"bytes,15,opt,name=linux,proto3"`
}

type createContainerRequest struct {
	Pod       string           `protobuf:"bytes,1,opt,name=pod_sandbox_id,proto3"`
	Config    *containerConfig `protobuf:"bytes,2,opt,name=config,proto3"`
	PodConfig *podConfig       `protobuf:"bytes,3,opt,name=sandbox_config,proto3"`
}

type stopRequest struct {
	ID      string `protobuf:"bytes,1,opt,name=container_id,proto3"`
	Timeout int64  `protobuf:"varint,2,opt,name=timeout,proto3"`
}

type execRequest struct {
	ID      string   `protobuf:"bytes,1,opt,name=container_id,proto3"`
	Command []string `protobuf:"bytes,2,rep,name=cmd,proto3"`
	Timeout int64    `protobuf:"varint,3,opt,name=timeout,proto3"`
}

type execResponse struct {
	Stdout   []byte `protobuf:"bytes,1,opt,name=stdout,proto3"`
	Stderr   []byte `protobuf:"bytes,2,opt,name=stderr,proto3"`
	ExitCode int32  `protobuf:"varint,3,opt,name=exit_code,proto3"`
}

type containerAttributes struct {
	ID string `protobuf:"bytes,1,opt,name=id,proto3"`
}

type containerStats struct {
	Attributes    *containerAttributes `protobuf:"bytes,1,opt,name=attributes,proto3"`
	WritableLayer *filesystemUsage     `protobuf:"bytes,4,opt,name=writable_layer,proto3"`
}

type containerStatsResponse struct {
	Stats *containerStats `protobuf:"bytes,1,opt,name=stats,proto3"`
}

type nothing struct{}

func (m *imageSpec) Reset()         { *m = imageSpec{} }
func (m *imageSpec) String() string { return proto.CompactTextString(m) }
func (*imageSpec) ProtoMessage()    {}

func (m *imageRequest) Reset()         { *m = imageRequest{} }
func (m *imageRequest) String() string { return proto.CompactTextString(m) }
func (*imageRequest) ProtoMessage()    {}

func (m *pullImageResponse) Reset()         { *m = pullImageResponse{} }
func (m *pullImageResponse) String() string { return proto.CompactTextString(m) }
func (*pullImageResponse) ProtoMessage()    {}

func (m *imageInfo) Reset()         { *m = imageInfo{} }
func (m *imageInfo) String() string { return proto.CompactTextString(m) }
func (*imageInfo) ProtoMessage()    {}

func (m *listImagesResponse) Reset()         { *m = listImagesResponse{} }
func (m *listImagesResponse) String() string { return proto.CompactTextString(m) }
func (*listImagesResponse) ProtoMessage()    {}

func (m *number) Reset()         { *m = number{} }
func (m *number) String() string { return proto.CompactTextString(m) }
func (*number) ProtoMessage()    {}

func (m *mountpoint) Reset()         { *m = mountpoint{} }
func (m *mountpoint) String() string { return proto.CompactTextString(m) }
func (*mountpoint) ProtoMessage()    {}

func (m *filesystemUsage) Reset()         { *m = filesystemUsage{} }
func (m *filesystemUsage) String() string { return proto.CompactTextString(m) }
func (*filesystemUsage) ProtoMessage()    {}

func (m *imageFsInfoResponse) Reset()         { *m = imageFsInfoResponse{} }
func (m *imageFsInfoResponse) String() string { return proto.CompactTextString(m) }
func (*imageFsInfoResponse) ProtoMessage()    {}

func (m *podMetadata) Reset()         { *m = podMetadata{} }
func (m *podMetadata) String() string { return proto.CompactTextString(m) }
func (*podMetadata) ProtoMessage()    {}

func (m *namespaceOption) Reset()         { *m = namespaceOption{} }
func (m *namespaceOption) String() string { return proto.CompactTextString(m) }
func (*namespaceOption) ProtoMessage()    {}

func (m *podSecurity) Reset()         { *m = podSecurity{} }
func (m *podSecurity) String() string { return proto.CompactTextString(m) }
func (*podSecurity) ProtoMessage()    {}

func (m *podLinux) Reset()         { *m = podLinux{} }
func (m *podLinux) String() string { return proto.CompactTextString(m) }
func (*podLinux) ProtoMessage()    {}

func (m *podConfig) Reset()         { *m = podConfig{} }
func (m *podConfig) String() string { return proto.CompactTextString(m) }
func (*podConfig) ProtoMessage()    {}

func (m *runPodRequest) Reset()         { *m = runPodRequest{} }
func (m *runPodRequest) String() string { return proto.CompactTextString(m) }
func (*runPodRequest) ProtoMessage()    {}

func (m *idMessage) Reset()         { *m = idMessage{} }
func (m *idMessage) String() string { return proto.CompactTextString(m) }
func (*idMessage) ProtoMessage()    {}

func (m *containerMetadata) Reset()         { *m = containerMetadata{} }
func (m *containerMetadata) String() string { return proto.CompactTextString(m) }
func (*containerMetadata) ProtoMessage()    {}

func (m *containerSecurity) Reset()         { *m = containerSecurity{} }
func (m *containerSecurity) String() string { return proto.CompactTextString(m) }
func (*containerSecurity) ProtoMessage()    {}

func (m *containerLinux) Reset()         { *m = containerLinux{} }
func (m *containerLinux) String() string { return proto.CompactTextString(m) }
func (*containerLinux) ProtoMessage()    {}

func (m *containerConfig) Reset()         { *m = containerConfig{} }
func (m *containerConfig) String() string { return proto.CompactTextString(m) }
func (*containerConfig) ProtoMessage()    {}

func (m *createContainerRequest) Reset()         { *m = createContainerRequest{} }
func (m *createContainerRequest) String() string { return proto.CompactTextString(m) }
func (*createContainerRequest) ProtoMessage()    {}

func (m *stopRequest) Reset()         { *m = stopRequest{} }
func (m *stopRequest) String() string { return proto.CompactTextString(m) }
func (*stopRequest) ProtoMessage()    {}

func (m *execRequest) Reset()         { *m = execRequest{} }
func (m *execRequest) String() string { return proto.CompactTextString(m) }
func (*execRequest) ProtoMessage()    {}

func (m *execResponse) Reset()         { *m = execResponse{} }
func (m *execResponse) String() string { return proto.CompactTextString(m) }
func (*execResponse) ProtoMessage()    {}

func (m *containerAttributes) Reset()         { *m = containerAttributes{} }
func (m *containerAttributes) String() string { return proto.CompactTextString(m) }
func (*containerAttributes) ProtoMessage()    {}

func (m *containerStats) Reset()         { *m = containerStats{} }
func (m *containerStats) String() string { return proto.CompactTextString(m) }
func (*containerStats) ProtoMessage()    {}

func (m *containerStatsResponse) Reset()         { *m = containerStatsResponse{} }
func (m *containerStatsResponse) String() string { return proto.CompactTextString(m) }
func (*containerStatsResponse) ProtoMessage()    {}

func (m *nothing) Reset()         { *m = nothing{} }
func (m *nothing) String() string { return proto.CompactTextString(m) }
func (*nothing) ProtoMessage()    {}
