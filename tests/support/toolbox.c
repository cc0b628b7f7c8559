// What the containers of the command line's tests run: one static program under the names of a few tools, with just
// the behaviour those tests look at. Called as /bin/NAME, or as "toolbox NAME ARG...".
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

extern char** environ;

static int Fail(const char* what) {
  fprintf(stderr, "toolbox: %s: %s\n", what, strerror(errno));
  return 1;
}

static int Copy(int from) {
  char buffer[65536];
  for (;;) {
    const ssize_t got = read(from, buffer, sizeof buffer);
    if (got == 0) return 0;
    if (got < 0) return Fail("read");
    for (ssize_t done = 0; done < got;) {
      const ssize_t written = write(1, buffer + done, (size_t)(got - done));
      if (written < 0) return Fail("write");
      done += written;
    }
  }
}

static int Cat(char** args) {
  if (*args == NULL) return Copy(0);
  for (; *args != NULL; ++args) {
    const int fd = open(*args, O_RDONLY);
    if (fd < 0) return Fail(*args);
    if (Copy(fd) != 0) return 1;
    close(fd);
  }
  return 0;
}

static int Compare(const void* a, const void* b) { return strcmp(*(char* const*)a, *(char* const*)b); }

static int List(const char* path) {
  DIR* dir = opendir(path);
  if (dir == NULL) return Fail(path);
  char* names[1024];
  size_t count = 0;
  for (const struct dirent* entry; (entry = readdir(dir)) != NULL && count < 1024;) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) names[count++] = strdup(entry->d_name);
  }
  qsort(names, count, sizeof *names, Compare);
  for (size_t i = 0; i < count; ++i) puts(names[i]);
  return 0;
}

static int WriteFile(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) return Fail(path);
  return 0;
}

static void SayCaught(int signal) {
  char line[32];
  const int size = snprintf(line, sizeof line, "caught %d\n", signal);
  if (write(1, line, (size_t)size) != size) _exit(1);
  _exit(40);
}

static int Terminal(void) {
  struct winsize size = {0};
  if (!isatty(0) || !isatty(1)) {
    puts("no terminal");
    return 0;
  }
  ioctl(0, TIOCGWINSZ, &size);
  printf("terminal %dx%d\n", size.ws_col, size.ws_row);
  return 0;
}

int main(int argc, char** argv) {
  const char* name = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
  if (strcmp(name, "toolbox") == 0 && argc > 1) {
    name = *++argv;
    --argc;
  }
  char** args = argv + 1;
  const char* first = argc > 1 ? args[0] : "";
  if (strcmp(name, "true") == 0) return 0;
  if (strcmp(name, "false") == 0) return 1;
  if (strcmp(name, "exit") == 0) return atoi(first);
  if (strcmp(name, "cat") == 0) return Cat(args);
  if (strcmp(name, "ls") == 0) return List(argc > 1 ? first : ".");
  if (strcmp(name, "write") == 0) return WriteFile(first, argc > 2 ? args[1] : "");
  if (strcmp(name, "rm") == 0) return remove(first) == 0 ? 0 : Fail(first);
  if (strcmp(name, "mkdir") == 0) return mkdir(first, 0755) == 0 ? 0 : Fail(first);
  if (strcmp(name, "chmod") == 0) return chmod(first, (mode_t)strtol(args[1], NULL, 8)) == 0 ? 0 : Fail(first);
  if (strcmp(name, "tty") == 0) return Terminal();
  if (strcmp(name, "echo") == 0) {
    for (int i = 1; i < argc; ++i) printf("%s%s", i > 1 ? " " : "", argv[i]);
    puts("");
    return 0;
  }
  if (strcmp(name, "env") == 0) {
    for (char** variable = environ; *variable != NULL; ++variable) puts(*variable);
    return 0;
  }
  if (strcmp(name, "id") == 0) {
    printf("uid=%u gid=%u\n", (unsigned)getuid(), (unsigned)getgid());
    return 0;
  }
  if (strcmp(name, "pwd") == 0) {
    char path[4096];
    puts(getcwd(path, sizeof path) != NULL ? path : "?");
    return 0;
  }
  if (strcmp(name, "hostname") == 0) {
    char host[256] = {0};
    gethostname(host, sizeof host - 1);
    puts(host);
    return 0;
  }
  if (strcmp(name, "pid") == 0) {
    printf("%d\n", (int)getpid());
    return 0;
  }
  if (strcmp(name, "crash") == 0) __builtin_trap();
  if (strcmp(name, "sleep") == 0) {
    puts("sleeping");
    fflush(stdout);
    for (;;) pause();
  }
  if (strcmp(name, "become") == 0) {  // another user: the kernel forgets the parent-death signal
    if (setgid(33) != 0 || setuid(33) != 0) return Fail("become");
    puts("became");
    fflush(stdout);
    for (;;) pause();
  }
  if (strcmp(name, "catch") == 0) {
    signal(SIGTERM, SayCaught);
    signal(SIGINT, SayCaught);
    puts("ready");
    fflush(stdout);
    for (;;) pause();
  }
  fprintf(stderr, "toolbox: no tool %s\n", name);
  return 1;
}
