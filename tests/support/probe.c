// What a container looks like from inside: a static program that does what its arguments say, verb by verb (separated
// by "," arguments), and prints one JSON object per line for each. It judges nothing; the tests do.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

extern char** environ;

static void PrintString(const char* text, size_t size) {
  putchar('"');
  for (size_t i = 0; i < size; ++i) {
    const unsigned char c = (unsigned char)text[i];
    if (c == '"' || c == '\\') {
      printf("\\%c", c);
    } else if (c < 0x20 || c > 0x7e) {
      printf("\\u%04x", c);
    } else {
      putchar(c);
    }
  }
  putchar('"');
}

static void Field(const char* name, const char* text) {
  printf(",\"%s\":", name);
  PrintString(text, strlen(text));
}

static void Number(const char* name, long long value) { printf(",\"%s\":%lld", name, value); }

static void Cat(const char* path) {
  static char buffer[1 << 20];
  const int fd = open(path, O_RDONLY | O_NONBLOCK);
  ssize_t size = fd < 0 ? -1 : 0;
  while (fd >= 0 && (size_t)size < sizeof buffer) {
    const ssize_t got = read(fd, buffer + size, sizeof buffer - (size_t)size);
    if (got <= 0) {
      if (got < 0) size = -1;
      break;
    }
    size += got;
  }
  Number("errno", size < 0 ? errno : 0);
  printf(",\"text\":");
  PrintString(buffer, size < 0 ? 0 : (size_t)size);
  if (fd >= 0) close(fd);
}

static void Write(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  const ssize_t wrote = fd < 0 ? -1 : write(fd, text, strlen(text));
  Number("errno", wrote < 0 ? errno : 0);
  if (fd >= 0) close(fd);
}

static void Stat(const char* path) {
  struct stat status;
  if (lstat(path, &status) != 0) {
    Number("errno", errno);
    return;
  }
  Number("errno", 0);
  Number("mode", status.st_mode);
  Number("uid", status.st_uid);
  Number("gid", status.st_gid);
  Number("size", status.st_size);
  Number("major", major(status.st_rdev));
  Number("minor", minor(status.st_rdev));
  char target[4096];
  const ssize_t size = readlink(path, target, sizeof target - 1);
  if (size >= 0) {
    target[size] = '\0';
    Field("target", target);
  }
}

static void List(const char* path) {
  DIR* dir = opendir(path);
  Number("errno", dir == NULL ? errno : 0);
  printf(",\"names\":[");
  const char* separator = "";
  for (struct dirent* entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    printf("%s", separator);
    PrintString(entry->d_name, strlen(entry->d_name));
    separator = ",";
  }
  putchar(']');
  if (dir != NULL) closedir(dir);
}

static void Descriptors(void) {
  printf(",\"fds\":[");
  const char* separator = "";
  for (int fd = 0; fd < 4096; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) continue;
    printf("%s%d", separator, fd);
    separator = ",";
  }
  putchar(']');
}

static void Namespaces(void) {
  static const char* const kNames[] = {"mnt", "pid", "ipc", "uts", "cgroup", "net", "user"};
  for (size_t i = 0; i < sizeof kNames / sizeof *kNames; ++i) {
    char path[64];
    char target[64] = "";
    snprintf(path, sizeof path, "/proc/self/ns/%s", kNames[i]);
    const ssize_t size = readlink(path, target, sizeof target - 1);
    if (size >= 0) target[size] = '\0';
    Field(kNames[i], target);
  }
}

static void Ids(void) {
  uid_t ruid, euid, suid;
  gid_t rgid, egid, sgid;
  getresuid(&ruid, &euid, &suid);
  getresgid(&rgid, &egid, &sgid);
  printf(",\"uid\":[%u,%u,%u],\"gid\":[%u,%u,%u],\"groups\":[", ruid, euid, suid, rgid, egid, sgid);
  gid_t groups[256];
  const int count = getgroups(256, groups);
  for (int i = 0; i < count; ++i) printf("%s%u", i == 0 ? "" : ",", groups[i]);
  putchar(']');
}

static void Terminal(void) {
  struct winsize size = {0};
  ioctl(0, TIOCGWINSZ, &size);
  const int tty = open("/dev/tty", O_RDWR | O_NOCTTY);
  struct stat in;
  fstat(0, &in);
  Number("isatty", isatty(0) + isatty(1) + isatty(2));
  Field("name", ttyname(0) == NULL ? "" : ttyname(0));
  Number("rows", size.ws_row);
  Number("columns", size.ws_col);
  Number("controlling", tty >= 0);
  Number("owner", in.st_uid);
  Number("group", in.st_gid);
  Number("sid", getsid(0));
  Number("foreground", tcgetpgrp(0));
  if (tty >= 0) close(tty);
}

static void Loopback(void) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strcpy(request.ifr_name, "lo");
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ioctl(fd, SIOCGIFFLAGS, &request);
  Number("up", (request.ifr_flags & IFF_UP) != 0);
  close(fd);
}

static void Statvfs(const char* path) {
  struct statvfs fs;
  if (statvfs(path, &fs) != 0) {
    Number("errno", errno);
    return;
  }
  Number("errno", 0);
  Number("bytes", (long long)(fs.f_blocks * fs.f_frsize));
  Number("flags", (long long)fs.f_flag);
}

// Tries to become one's host by every chroot trick that needs no help; ends with a listing of what "/" is then.
static void Escape(void) {
  mkdir("/escape", 0755);
  const int root = open("/", O_RDONLY | O_DIRECTORY);
  const int chrooted = chroot("/escape");
  Number("chroot", chrooted == 0 ? 0 : errno);
  if (root >= 0) {
    if (fchdir(root) != 0) Number("fchdir", errno);
    close(root);
  }
  for (int i = 0; i < 64; ++i) {
    if (chdir("..") != 0) break;
  }
  if (chroot(".") != 0) Number("chroot_up", errno);
  char path[4096];
  Field("cwd", getcwd(path, sizeof path) == NULL ? "(none)" : path);
  List(".");
}

static volatile sig_atomic_t g_signal;
static void OnSignal(int signal) { g_signal = signal; }

// Prints "waiting", then the first of the given signals, or of SIGWINCH the new size.
static void WaitSignal(const char* name) {
  const int number = atoi(name);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = OnSignal;
  sigaction(number, &action, NULL);
  sigset_t mask;
  sigset_t before;
  sigemptyset(&mask);
  sigaddset(&mask, number);
  sigprocmask(SIG_BLOCK, &mask, &before);
  printf(",\"state\":\"waiting\"}\n");
  fflush(stdout);
  while (g_signal == 0) sigsuspend(&before);
  sigprocmask(SIG_SETMASK, &before, NULL);
  printf("{\"verb\":\"got-signal\"");
  Number("signal", g_signal);
  struct winsize size = {0};
  ioctl(0, TIOCGWINSZ, &size);
  Number("rows", size.ws_row);
  g_signal = 0;
}

static void ReadInput(void) {
  char buffer[65536];
  size_t size = 0;
  ssize_t got;
  while (size < sizeof buffer && (got = read(0, buffer + size, sizeof buffer - size)) > 0) size += (size_t)got;
  printf(",\"text\":");
  PrintString(buffer, size);
}

static long Count(char** args, int count) {
  for (int i = 0; i < count; ++i) {
    if (strcmp(args[i], ",") == 0) return i;
  }
  return count;
}

static const char* Argument(char** args, long count, long index) { return index < count ? args[index] : ""; }

static int Run(char** args, long count) {
  const char* verb = args[0];
  const char* first = Argument(args, count, 1);
  if (strcmp(verb, "true") == 0) return 0;
  if (strcmp(verb, "exit") == 0) exit(atoi(first));
  if (strcmp(verb, "signal") == 0) {
    // pid 1 is immune to its own signals unless it has no default action; SIGKILL from inside never works, abort does.
    const pid_t child = fork();
    if (child == 0) {
      kill(getpid(), atoi(first));
      _exit(99);
    }
    int status = 0;
    waitpid(child, &status, 0);
    exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : 1);
  }
  if (strcmp(verb, "abort") == 0) __builtin_trap();
  if (strcmp(verb, "say") == 0) {
    puts(first);
    return 0;
  }
  if (strcmp(verb, "spam") == 0) {
    for (int i = 0; i < atoi(first); ++i) printf("line %d\n", i);
    return 0;
  }
  if (strcmp(verb, "forever") == 0) {
    fflush(stdout);
    for (;;) pause();
  }
  if (strcmp(verb, "become") == 0) {  // as gosu and su-exec do before the payload
    if (setgid((gid_t)atoi(first)) != 0 || setuid((uid_t)atoi(first)) != 0) exit(98);
    return 0;
  }
  if (strcmp(verb, "fork") == 0) {  // leaves a grandchild that holds everything open
    if (fork() == 0) {
      for (;;) pause();
    }
    return 0;
  }
  if (strcmp(verb, "ignore") == 0) {
    signal(atoi(first), SIG_IGN);
    return 0;
  }
  printf("{\"verb\":");
  PrintString(verb, strlen(verb));
  if (count > 1) Field("arg", first);
  if (strcmp(verb, "cat") == 0) {
    Cat(first);
  } else if (strcmp(verb, "write") == 0) {
    Write(first, Argument(args, count, 2));
  } else if (strcmp(verb, "stat") == 0) {
    Stat(first);
  } else if (strcmp(verb, "ls") == 0) {
    List(first);
  } else if (strcmp(verb, "fds") == 0) {
    Descriptors();
  } else if (strcmp(verb, "ns") == 0) {
    Namespaces();
  } else if (strcmp(verb, "ids") == 0) {
    Ids();
  } else if (strcmp(verb, "tty") == 0) {
    Terminal();
  } else if (strcmp(verb, "lo") == 0) {
    Loopback();
  } else if (strcmp(verb, "statvfs") == 0) {
    Statvfs(first);
  } else if (strcmp(verb, "escape") == 0) {
    Escape();
  } else if (strcmp(verb, "wait-signal") == 0) {
    WaitSignal(first);
  } else if (strcmp(verb, "read") == 0) {
    ReadInput();
  } else if (strcmp(verb, "hostname") == 0) {
    char name[256] = "";
    gethostname(name, sizeof name);
    Field("name", name);
  } else if (strcmp(verb, "cwd") == 0) {
    char path[4096];
    Field("path", getcwd(path, sizeof path) == NULL ? "(none)" : path);
  } else if (strcmp(verb, "umask") == 0) {
    Number("mask", umask(022));
  } else if (strcmp(verb, "pid") == 0) {
    Number("pid", getpid());
    Number("sid", getsid(0));
  } else if (strcmp(verb, "umount") == 0) {
    Number("errno", umount2(first, MNT_DETACH) == 0 ? 0 : errno);
  } else if (strcmp(verb, "remount") == 0) {
    Number("errno", mount(NULL, first, NULL, MS_REMOUNT | MS_BIND, NULL) == 0 ? 0 : errno);
  } else if (strcmp(verb, "mknod") == 0) {
    Number("errno", mknod(first, S_IFCHR | 0600, makedev(1, 3)) == 0 ? 0 : errno);
  } else if (strcmp(verb, "env") == 0) {
    printf(",\"env\":[");
    for (char** variable = environ; *variable != NULL; ++variable) {
      if (variable != environ) putchar(',');
      PrintString(*variable, strlen(*variable));
    }
    putchar(']');
  } else {
    Field("error", "unknown verb");
  }
  printf("}\n");
  fflush(stdout);
  return 0;
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc;) {
    const long count = Count(argv + i, argc - i);
    if (count > 0) {
      const int result = Run(argv + i, count);
      if (result != 0) return result;
    }
    i += (int)count + 1;
  }
  return 0;
}
